"""Real processes of the package's executables, and spinning with a time limit."""

import os
import signal
import subprocess
import sys
import time
import weakref
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_LOADING = {"semantic_mapper": 1, "affordance_server": 1, "perception": 2}  # nodes of an executable that load a model

_CLIENTS: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()  # of every node, by the service's name
_MEETING, _AGAIN_AFTER = 0.3, 10.0  # seconds
_REPEATABLE = ("GetState", "LocateObject")


class Process:
    """One of the package's executables with parameters, its output kept in a file."""

    def __init__(self, folder, executable, remap=(), start_new_session=False, **parameters):
        self.log = folder / f"{executable}-{time.monotonic_ns()}.log"
        self._loading = _LOADING.get(executable, 0) if parameters.get("autostart", True) else 0
        arguments = [part for k, v in parameters.items() for part in ("-p", f"{k.replace('__', '.')}:={v}")]
        arguments += [part for rule in remap for part in ("-r", rule)]
        command = [sys.executable, str(ROOT / "scripts" / executable), "--ros-args", *arguments]
        # PYTHONSAFEPATH: the script's own folder must not come before the installed package.
        env = os.environ | {"PYTHONSAFEPATH": "1", "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
        self.process = subprocess.Popen(
            command, stdout=self.log.open("w"), stderr=subprocess.STDOUT, env=env, start_new_session=start_new_session
        )

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            return self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return None

    def wait_loaded(self, timeout=60.0):
        """Wait until the nodes that start by themselves have loaded what they need, or said why they cannot."""
        end = time.monotonic() + timeout
        while self.alive and time.monotonic() < end:
            if self.output.count(": active\n") + self.output.count("cannot configure") >= self._loading:
                return
            time.sleep(0.05)

    @property
    def alive(self):
        return self.process.poll() is None

    @property
    def output(self):
        return self.log.read_text()


def spin_until(node, condition, timeout=60.0):
    """Spin a node until something holds; returns whether it came to hold."""
    import rclpy

    end = time.monotonic() + timeout
    while time.monotonic() < end:
        if condition():
            return True
        rclpy.spin_once(node, timeout_sec=0.05)
    return condition()


def call(node, kind, name, /, timeout=60.0, **fields):
    """A service's answer; fails the test where there is none.

    A server may see a client's request before it sees where to answer, and the answer is lost then: a client is kept as
    long as its node, a moment passes before the first request, and one that changes nothing is sent again.
    """
    clients = _CLIENTS.setdefault(node, {})
    met = name in clients and clients[name].service_is_ready()
    client = clients[name] = clients.get(name) or node.create_client(kind, name)
    assert client.wait_for_service(timeout), f"no service {name}"
    if not met:
        spin_until(node, lambda: False, _MEETING)
    futures = [client.call_async(kind.Request(**fields))]
    end, patience = time.monotonic() + timeout, _AGAIN_AFTER if kind.__name__ in _REPEATABLE else timeout
    while not spin_until(node, lambda: any(f.done() for f in futures), min(patience, end - time.monotonic())):
        assert time.monotonic() < end, f"{name} did not answer"
        futures.append(client.call_async(kind.Request(**fields)))
    return next(f.result() for f in futures if f.done())


def change_state(node, name, transition):
    """Whether a lifecycle node took a transition (its id)."""
    from lifecycle_msgs.msg import Transition
    from lifecycle_msgs.srv import ChangeState

    return call(node, ChangeState, f"{name}/change_state", transition=Transition(id=transition)).success
