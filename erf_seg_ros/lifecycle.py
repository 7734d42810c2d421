"""A lifecycle node that answers every request, and tells why a transition failed."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from functools import wraps

from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

from .answers import answer_always

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
    """`LifecycleNode` that answers "no" to a transition its state does not have, and the like.

    `failure` is why the node is not in the state that was asked for.
    """

    def __init__(self, name: str) -> None:
        """Create the node with rclpy's services."""
        super().__init__(name)
        self.failure = ""
        answer_always(self)
