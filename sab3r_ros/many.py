"""Many jobs: in processes of this machine, or on a Ray cluster."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any


@dataclass(frozen=True)
class Outcome:
    """What came of a job. number: its place in the list; result: what it returned; error: "" where it returned something."""

    number: int
    result: Any = None
    error: str = ""


def run_many(
    function: Callable[[Any], Any], jobs: Sequence[Any], workers: int = 2, cluster: str = "", gpus: float = 0.0
) -> Iterator[Outcome]:
    """Outcomes of `function(job)` as they come; a job that fails costs itself.

    function and jobs must be picklable. workers: processes of this machine, each for one job, so that one that is killed
    takes no other with it. cluster: "" = this machine without Ray, "local" = Ray on this machine, else the address of a
    cluster ("auto", "ray://host:10001"), whose machines need the same package and paths; gpus: of a job there, may be a fraction.
    Raises ValueError where Ray is asked for and cannot be had.
    """
    return _on_ray(function, jobs, workers, cluster, gpus) if cluster else _here(function, jobs, workers)


def _here(function: Callable[[Any], Any], jobs: Sequence[Any], workers: int) -> Iterator[Outcome]:
    threads = ThreadPoolExecutor(workers)
    try:
        running = {threads.submit(_in_a_process, function, job): number for number, job in enumerate(jobs)}
        for done in as_completed(running):
            yield _outcome(running[done], done.result)
    finally:
        threads.shutdown(wait=False, cancel_futures=True)


def _in_a_process(function: Callable[[Any], Any], job: Any) -> Any:
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(function, job).result()


def _outcome(number: int, result: Callable[[], Any]) -> Outcome:
    try:
        return Outcome(number, result())
    except BrokenProcessPool:
        return Outcome(number, error="its process was killed (out of memory?)")
    except Exception as error:
        return Outcome(number, error=" ".join(str(error).split()) or type(error).__name__)


def _on_ray(
    function: Callable[[Any], Any], jobs: Sequence[Any], workers: int, cluster: str, gpus: float
) -> Iterator[Outcome]:
    try:
        import ray
    except ImportError as error:
        raise ValueError('a cluster needs Ray: pip install "sab3r_ros[cluster]"') from error
    try:
        if cluster == "local":
            ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False)
        else:
            ray.init(address=cluster, log_to_driver=False)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise ValueError(f"no Ray cluster at {cluster!r}: {error}") from error
    try:
        remote = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=1)(function)
        running = {remote.remote(job): number for number, job in enumerate(jobs)}
        while running:
            (done,), _ = ray.wait(list(running), num_returns=1)
            number = running.pop(done)
            try:
                yield Outcome(number, ray.get(done))
            except ray.exceptions.RayTaskError as error:
                yield Outcome(number, error=" ".join(str(error.cause or error).split()))
            except ray.exceptions.RayError as error:
                yield Outcome(number, error=f"its worker ended: {' '.join(str(error).split())[:200]}")
    finally:
        ray.shutdown()
