"""Adjustment in a process of its own: GTSAM holds Python's lock while it works, and writes to the standard output.

    python -m sab3r_ros.mapping.adjustment.solver_process

reads pickled functions with their arguments from its standard input and answers each with the result or an error; it ends with
its input.
"""

import importlib.util
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any, BinaryIO, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

_NICE = 10  # a camera that is tracked beside goes first


class SolverError(RuntimeError):
    """A problem that could not be solved; the message says why."""


def gtsam_is_installed() -> bool:
    """Whether GTSAM is installed (it has wheels for Python 3.11 and later)."""
    return importlib.util.find_spec("gtsam") is not None


class SolverProcess:
    """Starts the process with the first problem, and again after it failed. Safe for several threads, one problem at a time."""

    def __init__(self) -> None:
        self._process: subprocess.Popen | None = None
        self._lock = threading.Lock()

    def __call__(self, solve: Callable[P, R], *args: P.args, **options: P.kwargs) -> R:
        """What a function of a module answers, called over there. Raises SolverError where it raises."""
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                self._process = _start()
            try:
                assert self._process.stdin is not None
                assert self._process.stdout is not None
                pickle.dump((solve, args, options), self._process.stdin)
                self._process.stdin.flush()
                answer = pickle.load(self._process.stdout)
            except (OSError, EOFError, pickle.UnpicklingError) as error:
                self._process.kill()
                self._process = None
                raise SolverError(f"the adjustment's process ended: {type(error).__name__}") from error
        if isinstance(answer, str):
            raise SolverError(answer)
        return answer

    def close(self) -> None:
        """End the process; also one that is at work."""
        process = self._process
        if process is not None and process.poll() is None:
            process.kill()
            process.wait()

    def __del__(self) -> None:
        self.close()


def _start() -> subprocess.Popen:
    # The child finds this package where the parent did; one thread, beside a camera that is being tracked.
    env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "sab3r_ros.mapping.adjustment.solver_process"]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env, start_new_session=True)


def serve(problems: BinaryIO, answers: BinaryIO) -> None:
    """Call what is pickled until there is no more."""
    while True:
        try:
            solve, args, options = pickle.load(problems)
        except EOFError:
            return
        try:
            answer: Any = solve(*args, **options)
        except Exception as error:  # whatever GTSAM makes of odd numbers; the parent goes on without
            answer = f"{type(error).__name__}: {error}".splitlines()[0]
        pickle.dump(answer, answers)
        answers.flush()


def main() -> None:
    """Serve on the standard input; what GTSAM prints goes nowhere."""
    os.nice(_NICE)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    serve(sys.stdin.buffer, answers)


if __name__ == "__main__":
    main()
