"""Services that answer whatever happens: rclpy leaves a caller waiting whose request raises."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from rcl_interfaces.msg import SetParametersResult
from rcl_interfaces.srv import ListParameters, SetParameters, SetParametersAtomically
from rclpy.node import Node
from rclpy.service import Service

from erf_seg_core.errors import in_words

Callback = Callable[[Any, Any], Any]
"""From a request and an empty response to the response."""


def answer_always(node: Node) -> None:
    """Have the services that the node has by now say no, or nothing, where they would raise.

    Parameters of a type that does not exist raise, and in Humble and Jazzy transitions that the
    state does not have.
    """
    for service in node.services:
        service.callback = _answering(node, service)


def _answering(node: Node, service: Service) -> Callback:
    callback = service.callback

    @wraps(callback)
    def answer(request: Any, response: Any) -> Any:
        try:
            return _asked(callback, request, response)
        except Exception as error:
            reason = in_words(error)
            node.get_logger().error(f"a request to {service.srv_name} failed: {reason}")
            return _refusal(request, response, reason)

    return answer


def _asked(callback: Callback, request: Any, response: Any) -> Any:
    try:
        return callback(request, response)
    except RuntimeError:
        if not isinstance(request, ListParameters.Request):
            raise
        # Another thread declared or undeclared one just while rclpy went through them.
        return callback(request, type(response)())


def _refusal(request: Any, response: Any, reason: str) -> Any:
    """What there is to answer; `response` holds the results of the parameters before."""
    refused = SetParametersResult(successful=False, reason=reason)
    if isinstance(response, SetParameters.Response):
        left = len(request.parameters) - len(response.results)
        response.results.extend([refused] * left)
        return response
    empty = type(response)()
    if isinstance(response, SetParametersAtomically.Response):
        empty.result = refused
    return empty
