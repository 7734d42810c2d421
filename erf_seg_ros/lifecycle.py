"""A lifecycle node that refuses impossible transitions on every distribution."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from functools import wraps

from lifecycle_msgs.srv import ChangeState
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

Transition = Callable[["SteadyLifecycleNode", LifecycleState], TransitionCallbackReturn]


def transition(callback: Transition) -> Transition:
    """Log what a transition's callback raises, and keep it: rclpy drops it without a word."""

    @wraps(callback)
    def told(node: SteadyLifecycleNode, state: LifecycleState) -> TransitionCallbackReturn:
        try:
            return callback(node, state)
        except Exception as error:
            node.failure = f"{callback.__name__} failed: {type(error).__name__}: {error}"
            node.get_logger().error(f"{node.failure}\n{traceback.format_exc()}")
            return TransitionCallbackReturn.ERROR

    return told


class SteadyLifecycleNode(LifecycleNode):
    """`LifecycleNode` that answers "no" to a transition its state does not have.

    In Humble and Jazzy rclpy raises into the executor instead, which ends the process: asking an
    active node to configure would kill it. Kilted answers by itself. `failure` is why the node is
    not in the state that was asked for.
    """

    def __init__(self, name: str) -> None:
        """Stand between the service and rclpy's own callback."""
        super().__init__(name)
        self.failure = ""
        change_state = self._service_change_state.callback

        def answer(
            request: ChangeState.Request, response: ChangeState.Response
        ) -> ChangeState.Response:
            try:
                return change_state(request, response)
            except RuntimeError as error:  # rclpy's RCLError, which has no public name
                wanted = request.transition.label or request.transition.id
                self.get_logger().error(f"transition {wanted} is not possible now: {error}")
                response.success = False
                return response

        self._service_change_state.callback = answer
