"""A lifecycle node that refuses impossible transitions on every distribution."""

from __future__ import annotations

from lifecycle_msgs.srv import ChangeState
from rclpy.lifecycle import LifecycleNode


class SteadyLifecycleNode(LifecycleNode):
    """`LifecycleNode` that answers "no" to a transition its state does not have.

    In Humble and Jazzy rclpy raises into the executor instead, which ends the process: asking an
    active node to configure would kill it. Kilted answers by itself.
    """

    def __init__(self, name: str) -> None:
        """Stand between the service and rclpy's own callback."""
        super().__init__(name)
        change_state = self._service_change_state.callback

        def answer(
            request: ChangeState.Request, response: ChangeState.Response
        ) -> ChangeState.Response:
            try:
                return change_state(request, response)
            except RuntimeError as error:  # rclpy's RCLError, which has no public name
                transition = request.transition.label or request.transition.id
                self.get_logger().error(f"transition {transition} is not possible now: {error}")
                response.success = False
                return response

        self._service_change_state.callback = answer
