"""What the lifecycle nodes share: their transitions, how they stay up, and how their executables run them."""

import os
import signal
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import rclpy
from lifecycle_msgs.srv import ChangeState
from rclpy.clock import Clock, ClockType
from rclpy.exceptions import InvalidHandle, ParameterException
from rclpy.executors import MultiThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.signals import SignalHandlerOptions

from sab3r_ros.nodes.callback_guard import CallbackGuard

_LOADING_WAIT = 2.0  # seconds that an end waits for models on their way
_SWITCH = 2e-4  # seconds
_TOLD_WITHIN = 1.0  # seconds, of a failed callback
_END_WITHIN = 3.0  # seconds for a clean end; launch sends SIGTERM after 5
_ERROR_EVERY = 1.0  # seconds at least between two lines about something that fails again and again


class ManagedNode(LifecycleNode, ABC):
    """A lifecycle node made of `do_configure`, `start`, `stop` and `do_cleanup`; needs a parameter `autostart`.

    What goes wrong in a transition is logged and leads back to where it came from. Timers and services go through
    `guard`, which is open while the node is configured: `do_cleanup` never takes away what one of them is using.
    """

    def __init__(self, name: str, **kwargs):
        super().__init__(name, **kwargs)
        self.guard = CallbackGuard()
        for service in self.services:
            if service.srv_type is ChangeState:
                service.callback = self._refusing(service.callback)

    @abstractmethod
    def do_configure(self) -> None:
        """Make everything that answering needs. Raises ValueError with what the user can mend."""

    @abstractmethod
    def do_activate(self) -> None:
        """Begin to work."""

    @abstractmethod
    def do_deactivate(self) -> None:
        """End what `start` began; also called where it never was."""

    @abstractmethod
    def do_cleanup(self) -> None:
        """Let go of everything that `do_configure` made, half of it included."""

    def drop(self) -> None:
        """Stop, wait for the callbacks in hand, and let go of everything."""
        self.do_deactivate()
        if not self.guard.close():
            self.get_logger().warning("a callback takes long; its node is cleaned up without waiting for it any more")
        self.do_cleanup()

    def on_configure(self, _state: LifecycleState) -> TransitionCallbackReturn:
        """Set up; FAILURE leads back to unconfigured, with the reason in the log."""
        if not self._succeeds(self.do_configure, "configure"):
            self.do_cleanup()
            return TransitionCallbackReturn.FAILURE
        self.guard.open()
        return TransitionCallbackReturn.SUCCESS

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Start; FAILURE leads back to inactive, with the reason in the log."""
        if not self._succeeds(self.do_activate, "activate"):
            self.do_deactivate()
            return TransitionCallbackReturn.FAILURE
        self.get_logger().info("active")
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop; queries are answered as before."""
        self.do_deactivate()
        return super().on_deactivate(state)

    def on_cleanup(self, _state: LifecycleState) -> TransitionCallbackReturn:
        """Back to unconfigured."""
        self.drop()
        return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, _state: LifecycleState) -> TransitionCallbackReturn:
        """Stop everything."""
        self.drop()
        return TransitionCallbackReturn.SUCCESS

    def on_error(self, _state: LifecycleState) -> TransitionCallbackReturn:
        """Back to unconfigured."""
        self.drop()
        return TransitionCallbackReturn.SUCCESS

    def while_configured(self, callback: Callable[[], None]) -> Callable[[], None]:
        """A timer's callback that passes the guard; an error that nobody foresaw is told and does not end the executor."""

        def call():
            with self.guard.entered() as configured:
                if not configured:
                    return
                try:
                    callback()
                except Exception as error:
                    self.get_logger().error(f"{type(error).__name__}: {error}", throttle_duration_sec=_ERROR_EVERY)

        return call

    def _succeeds(self, step: Callable[[], None], name: str) -> bool:
        try:
            step()
        except ValueError as error:
            self.get_logger().error(f"cannot {name}: {error}")
        except Exception as error:  # rclpy would swallow it without a word
            self.get_logger().error(f"cannot {name}: {type(error).__name__}: {error}")
        else:
            return True
        return False

    def _refusing(self, change_state):
        """rclpy raises at a transition that does not lead on from the present state, which would end the process."""

        def call(request, response):
            try:
                return change_state(request, response)
            except Exception as error:
                asked = request.transition.label or request.transition.id
                reason = str(error).split(", at ")[0]  # rcl adds where in its sources it says so
                self.get_logger().error(f"transition {asked} refused: {reason}")
                response.success = False
                return response

        return call


def _spin(executor: MultiThreadedExecutor, name: str, ended: threading.Event) -> None:
    """Spin until the end. rclpy raises here what went wrong in a callback of its own, such as a request for a parameter
    of no known type, and where a callback destroys what another thread is about to wait for: neither ends the process."""
    while rclpy.ok() and not ended.is_set():
        try:
            executor.spin()
            break
        except InvalidHandle:
            continue
        except Exception as error:
            if not rclpy.ok():  # ended from outside, or between the executor's look at the context and its wait
                break
            text = f"{type(error).__name__}: {error}"
            rclpy.logging.get_logger(name).error(text, throttle_duration_sec=_ERROR_EVERY)
    ended.set()


def _autostart(nodes: Sequence[ManagedNode], ended: threading.Event) -> None:
    """Configure and activate the nodes that are to start by themselves."""
    for node in nodes:
        if ended.is_set() or not node.get_parameter("autostart").value:
            continue
        if node.trigger_configure() == TransitionCallbackReturn.SUCCESS and not ended.is_set():
            node.trigger_activate()


def run_nodes(makes: Sequence[Callable[[], ManagedNode]], name: str, args=None, threads: int = 3) -> None:
    """Run nodes in one process until it is told to end; a parameter that cannot be is one line and a failed exit.

    Models are loaded by a thread of its own, so that a node answers meanwhile: its state, and "not configured". SIGINT and
    SIGTERM, however many, end the process in order, while there is still a context to publish with, and within 4 s.
    """
    # A thread that wants the interpreter's lock waits this long for one that computes: of a frame's thousands of small steps, each
    # would wait 5 ms (the default) while an adjustment or the map's labels are under way, with both cores half idle.
    sys.setswitchinterval(_SWITCH)
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    nodes: list[ManagedNode] = []
    executor = MultiThreadedExecutor(num_threads=threads * len(makes))
    try:
        for make in makes:
            nodes.append(make())
            executor.add_node(nodes[-1])
        # The executor looks at what became of a callback when another one is ready: without this a node that nobody asks
        # anything would keep a failure to itself.
        nodes[0].create_timer(_TOLD_WITHIN, lambda: None, clock=Clock(clock_type=ClockType.STEADY_TIME))
    except ParameterException as error:
        rclpy.try_shutdown()
        sys.exit(f"{name}: {error}")
    spinning = threading.Thread(target=_spin, args=(executor, name, ended), daemon=True)
    loading = threading.Thread(target=_autostart, args=(nodes, ended), daemon=True)
    spinning.start()
    loading.start()
    ended.wait()
    limit = threading.Timer(_END_WITHIN, _end_at_once, [name])
    limit.daemon = True
    limit.start()
    loading.join(_LOADING_WAIT)
    if loading.is_alive():  # nothing was mapped yet; a clean-up beside a loading model would only get in its way
        _end_at_once(name)
    for node in nodes:
        node.drop()
    rclpy.try_shutdown()
    spinning.join()
    for node in nodes:
        node.destroy_node()
    limit.cancel()
    # Python's own end closes what is left of DDS, and gives signals back to the system: a second one would kill.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    _flush()


def _end_at_once(name: str) -> None:
    """End without waiting for what is still at work: a model on its way, or a frame on a busy machine."""
    print(f"{name}: ended without waiting for the work in hand", file=sys.stderr)
    _flush()
    os._exit(0)


def _flush() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
