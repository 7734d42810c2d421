"""The colours of the labels, asked from the node that publishes them."""

from __future__ import annotations

import cv2
import numpy as np
from rcl_interfaces.msg import ParameterEvent
from rcl_interfaces.srv import GetParameters
from rclpy.client import Client
from rclpy.node import Node
from rclpy.qos import qos_profile_parameter_events
from rclpy.task import Future

from erf_seg_core.class_sets import VOID_ID
from erf_seg_core.semantic_cloud import pack_bgr

PARAMETER = "class_colors"
"""#rrggbb by class id, as `segmentation_node` declares it."""

_ABOUT_A_TURN = 67  # OpenCV's hues go from 0 to 179; this step keeps neighbours apart


class ClassColors:
    """256 uint32 0x00RRGGBB by label; distinct ones until the labels' publisher has told its own.

    Call `refresh` now and then: it notices a new publisher. A change of the parameter, as after
    a switch of the model, is noticed by itself.
    """

    def __init__(self, node: Node, label_topic: str) -> None:
        """Watch the publishers of `label_topic`."""
        self.palette = distinct_palette()
        self._node = node
        self._topic = label_topic
        self._owner = ""
        self._client: Client | None = None
        self._asked: Future | None = None
        self._answered = False
        node.create_subscription(
            ParameterEvent, "/parameter_events", self._on_event, qos_profile_parameter_events
        )

    @property
    def source(self) -> str:
        """Node whose colours these are; empty while they are ours."""
        return self._owner if self._answered else ""

    def refresh(self) -> None:
        """Ask the labels' publisher, if it is new, its answer is outdated or has not come.

        A request to a service that has only just been discovered may get lost without an error.
        """
        owner = self._publisher_of_labels()
        if owner and owner != self._owner:
            self._forget()
            self._owner = owner
            self._client = self._node.create_client(GetParameters, f"{owner}/get_parameters")
        if self._client is not None and not self._answered and self._client.service_is_ready():
            if self._asked is not None:
                self._client.remove_pending_request(self._asked)
            self._asked = self._client.call_async(GetParameters.Request(names=[PARAMETER]))
            self._asked.add_done_callback(self._on_answer)

    def _publisher_of_labels(self) -> str:
        for publisher in self._node.get_publishers_info_by_topic(self._topic):
            return f"{publisher.node_namespace.rstrip('/')}/{publisher.node_name}"
        return ""

    def _forget(self) -> None:
        if self._client is not None:
            self._node.destroy_client(self._client)
        self._client = self._asked = None
        self._answered = False

    def _on_event(self, event: ParameterEvent) -> None:
        if event.node == self._owner:
            told = (*event.new_parameters, *event.changed_parameters)
            if any(parameter.name == PARAMETER for parameter in told):
                self._asked, self._answered = None, False  # the next refresh asks again

    def _on_answer(self, future: Future) -> None:
        if future is not self._asked:
            return  # of before a change, or of another node
        answer = future.result()
        values = answer.values[0].string_array_value if answer and answer.values else []
        if values:  # empty: another program's labels, or a model that is not loaded yet
            self.palette = palette_of(values)
            self._answered = True


def palette_of(colors: list[str]) -> np.ndarray:
    """#rrggbb by class id → 256 uint32; what is no colour, void and unused ids are black."""
    palette = np.zeros(256, np.uint32)
    for number, color in enumerate(colors[:VOID_ID]):
        digits = color.removeprefix("#")
        if len(digits) == 6 and all(digit in "0123456789abcdefABCDEF" for digit in digits):
            palette[number] = int(digits, 16)
    return palette


def distinct_palette() -> np.ndarray:
    """Colours for labels of which nothing is known; void is black."""
    hues = np.arange(256) * _ABOUT_A_TURN % 180
    hsv = np.stack([hues, np.full(256, 200), np.full(256, 230)], axis=-1).astype(np.uint8)
    palette = pack_bgr(cv2.cvtColor(hsv[None], cv2.COLOR_HSV2BGR))[0]
    palette[VOID_ID] = 0
    return palette
