"""What the lifecycle nodes share: how they end, and how their executables run them."""

import sys
from collections.abc import Callable, Sequence

import rclpy
from rclpy.exceptions import InvalidHandle, ParameterException
from rclpy.executors import ExternalShutdownException, MultiThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn


class ManagedNode(LifecycleNode):
    """A lifecycle node whose clean-up, shut-down and error all mean `drop`; needs a parameter `autostart`."""

    def drop(self) -> None:
        """Let go of everything that configuring made."""
        raise NotImplementedError

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


def _spin(executor: MultiThreadedExecutor) -> None:
    """Spin until the end, also where a callback destroys what another thread is about to wait for, which rclpy raises."""
    while True:
        try:
            return executor.spin()
        except InvalidHandle:
            continue


def run_nodes(makes: Sequence[Callable[[], ManagedNode]], name: str, args=None, threads: int = 3) -> None:
    """Run nodes in one process until it is told to end; a parameter that cannot be is one line and a failed exit."""
    rclpy.init(args=args)
    nodes: list[ManagedNode] = []
    executor = MultiThreadedExecutor(num_threads=threads * len(makes))
    try:
        for make in makes:
            nodes.append(make())
            executor.add_node(nodes[-1])
        for node in nodes:
            if node.get_parameter("autostart").value and node.trigger_configure() == TransitionCallbackReturn.SUCCESS:
                node.trigger_activate()
        _spin(executor)
    except ParameterException as error:
        sys.exit(f"{name}: {error}")
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        for node in nodes:
            node.drop()
        executor.shutdown(timeout_sec=5)
        for node in nodes:
            node.destroy_node()
        rclpy.try_shutdown()
        sys.stdout.flush()
