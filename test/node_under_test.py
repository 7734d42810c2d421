"""The node in a process of its own, and the test's side of the conversation with it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import rclpy
import torch
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.msg import Parameter as ParameterMessage
from rcl_interfaces.srv import (
    DescribeParameters,
    GetParameters,
    SetParameters,
    SetParametersAtomically,
)
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter, parameter_value_to_python
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from torch import nn

from erf_seg_core import build_model
from erf_seg_core.checkpoint import CheckpointInfo, save_checkpoint
from erf_seg_core.class_sets import load_class_set

ROOT = Path(__file__).resolve().parents[1]
PATIENCE_S = 60.0
"""Deadline of every wait: far beyond what a loaded machine needs, so that only faults reach it."""

ASK_AGAIN_S = 3.0

SERVICES = {
    "change_state": ChangeState,
    "set_parameters": SetParameters,
    "set_parameters_atomically": SetParametersAtomically,
    "describe_parameters": DescribeParameters,
    "get_parameters": GetParameters,
    "get_state": GetState,
}
"""What changes something stands first: whoever answers the last knows all of these clients."""

TRANSITIONS = {
    "configure": Transition.TRANSITION_CONFIGURE,
    "activate": Transition.TRANSITION_ACTIVATE,
    "deactivate": Transition.TRANSITION_DEACTIVATE,
    "cleanup": Transition.TRANSITION_CLEANUP,
    "shutdown": Transition.TRANSITION_UNCONFIGURED_SHUTDOWN,
}


def make_checkpoint(path, model="d_star_light", input_size=(64, 96), class_set="camvid11"):
    """Checkpoint with seeded random weights, tuned so that the labels depend on the image."""
    torch.manual_seed(3)
    classes = load_class_set(class_set)
    net = build_model(model, classes.num_classes)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # so small a network only waits for threads on a loaded machine
    _tune(net)
    torch.set_num_threads(threads)
    info = CheckpointInfo(model, classes.num_classes, classes, input_size)
    return save_checkpoint(path, net, info)


@torch.no_grad()
def _tune(net):
    """Fit batch norms and logits to pictures; random weights alone label by position only."""
    pictures = np.stack([make_picture(seed, 64, 96) for seed in range(4)])
    images = torch.from_numpy(pictures).permute(0, 3, 1, 2).flip(1).float() / 255
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # exact statistics
    net.train()
    net(images)
    net.eval()
    logits = net(images)
    *_, head = (m for m in net.modules() if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d)))
    spread = logits.std((0, 2, 3))
    head.bias.copy_((head.bias - logits.mean((0, 2, 3))) / spread)
    shape = (1, -1, 1, 1) if isinstance(head, nn.ConvTranspose2d) else (-1, 1, 1, 1)
    head.weight.div_(spread.view(shape))


def make_picture(seed=0, height=60, width=80):
    """H×W×3 uint8 BGR with structure at several scales."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (6, 8, 3)).repeat(10, 0).repeat(10, 1)
    rows, columns = np.arange(height) * 60 // height, np.arange(width) * 80 // width
    fine = rng.integers(-20, 21, (height, width, 3))
    return np.clip(coarse[rows][:, columns] + fine, 0, 255).astype(np.uint8)


def image_message(data, height, width, step, encoding):
    """`Image` with raw bytes, as a camera driver would fill it."""
    message = Image(height=height, width=width, step=step, encoding=encoding)
    message.data = bytes(data)
    return message


def bgr8(picture):
    """`Image` of an H×W×3 array."""
    height, width = picture.shape[:2]
    return image_message(picture.tobytes(), height, width, width * 3, "bgr8")


class NodeProcess:
    """A node in its own process, killed at the end of the `with` block."""

    module = "erf_seg_ros.segmentation_node"

    def __init__(self, log_file, *arguments, environment=None, **parameters):
        command = [sys.executable, "-m", self.module, "--ros-args"]
        for name, value in parameters.items():
            text = str(value).lower() if isinstance(value, bool) else str(value)
            command += ["-p", f"{name}:={text}"]
        self._log_file = Path(log_file)
        with self._log_file.open("w") as log:
            self.process = subprocess.Popen(
                [*command, *arguments],
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self._log_file.parent,
                env={**os.environ, "PYTHONPATH": _python_path(), **(environment or {})},
            )

    @property
    def log(self):
        return self._log_file.read_text()

    def end(self, number=signal.SIGINT):
        """Send a signal; returns exit status and seconds until the end."""
        start = time.monotonic()
        self.process.send_signal(number)
        status = self.process.wait(PATIENCE_S)
        return status, time.monotonic() - start

    def __enter__(self):
        return self

    def __exit__(self, failure, *_):
        ended = self.process.poll()
        if ended is None:
            self.process.kill()
        self.process.wait(PATIENCE_S)
        if failure:  # pytest shows what a failing test printed
            print(f"the node's log (exit status when the test failed: {ended}):\n{self.log}")


class CloudNodeProcess(NodeProcess):
    """The node that makes clouds, likewise."""

    module = "erf_seg_ros.semantic_cloud_node"


class Client:
    """Publishes images to a node, collects what it publishes, calls its services."""

    def __init__(self, name="segmentation"):
        self.context = rclpy.Context()
        rclpy.init(context=self.context)
        self.node = rclpy.create_node("test_client", context=self.context)
        self._executor = SingleThreadedExecutor(context=self.context)
        self._executor.add_node(self.node)
        self._name = name
        self._services = {
            service: self.node.create_client(kind, f"{name}/{service}")
            for service, kind in SERVICES.items()
        }
        self._greeted = False
        self._stamp = 1_000_000_000
        self.received = {}
        self.diagnostics = []
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self.diagnostics.append, 10)

    def close(self):
        self._executor.shutdown()
        self.node.destroy_node()
        rclpy.shutdown(context=self.context)

    def listen(self, kind, topic):
        """Collect messages of an output in `received[topic]`; returns the subscription."""
        messages = self.received[topic] = []
        qos = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE)
        return self.node.create_subscription(kind, f"{self._name}/{topic}", messages.append, qos)

    def wait_until(self, condition, what, patience=PATIENCE_S):
        """Spin until `condition()` is truthy and return its value."""
        deadline = time.monotonic() + patience
        while not (value := condition()):
            assert time.monotonic() < deadline, f"waited {patience:g} s in vain for {what}"
            self._executor.spin_once(timeout_sec=0.05)
        return value

    def spin_for(self, seconds):
        """Keep receiving while a test itself sets the pace."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self._executor.spin_once(timeout_sec=left)

    def stamp(self, message):
        """Give a message a header that no other message has."""
        self._stamp += 1
        stamp = Time(sec=self._stamp, nanosec=987_654_321)
        message.header = Header(stamp=stamp, frame_id=f"optical_frame_{self._stamp}")
        return message

    def answer(self, header, topic="label"):
        """Wait for what the node published on `topic` for the image with this header."""

        def find():
            return [m for m in self.received[topic] if m.header == header]

        return self.wait_until(find, f"{topic} of {header.stamp}")[0]

    def connect(self, publisher, message, *topics):
        """Publish until an answer came on each of `topics`: both directions are matched then."""

        def answered():
            publisher.publish(self.stamp(message))
            self.spin_for(0.1)
            return all(self.received[topic] for topic in topics)

        self.wait_until(answered, f"a first answer on {', '.join(topics)}")

    def ask(self, service, request):
        """Response to a request that changes nothing.

        A service may not have discovered its client yet; its answer is then lost.
        """
        client = self._services[service]
        self.wait_until(client.service_is_ready, f"service {service}")
        asked = []

        def answered():
            if time.monotonic() - started >= len(asked) * ASK_AGAIN_S:
                asked.append(client.call_async(request))
            return [future for future in asked if future.done()]

        started = time.monotonic()
        future = self.wait_until(answered, f"the response of {service}")[0]
        self._greeted = True
        return future.result()

    def begin(self, service, request):
        """Future of the response to a request that must not be sent twice."""
        if not self._greeted:
            self.ask("get_parameters", GetParameters.Request())
        client = self._services[service]
        self.wait_until(client.service_is_ready, f"service {service}")
        return client.call_async(request)

    def call(self, service, request):
        """Response to a request that must not be sent twice."""
        future = self.begin(service, request)
        self.wait_until(future.done, f"the response of {service}")
        return future.result()

    def state(self):
        return self.ask("get_state", GetState.Request()).current_state.label

    def wait_for_state(self, label):
        self.wait_until(lambda: self.state() == label, f"state {label}")

    def wait_for_no_publisher(self, topic, patience=PATIENCE_S):
        def gone():
            return self.node.count_publishers(f"/{self._name}/{topic}") == 0

        self.wait_until(gone, f"the end of {topic}", patience)

    def change_state(self, name):
        request = ChangeState.Request()
        request.transition.id = TRANSITIONS[name]
        return self.call("change_state", request).success

    def set_together(self, **values):
        """All of these parameters or none; returns (successful, reason)."""
        parameters = [Parameter(k, value=v).to_parameter_msg() for k, v in values.items()]
        request = SetParametersAtomically.Request(parameters=parameters)
        result = self.call("set_parameters_atomically", request).result
        return result.successful, result.reason

    def set_parameter(self, name, value):
        """Returns (successful, reason)."""
        parameter = Parameter(name, value=value).to_parameter_msg()
        request = SetParameters.Request(parameters=[parameter])
        result = self.call("set_parameters", request).results[0]
        return result.successful, result.reason

    def delete_parameter(self, name):
        request = SetParameters.Request(parameters=[ParameterMessage(name=name)])
        return self.call("set_parameters", request).results[0].successful

    def get_parameter(self, name):
        request = GetParameters.Request(names=[name])
        return parameter_value_to_python(self.ask("get_parameters", request).values[0])

    def describe_parameter(self, name):
        request = DescribeParameters.Request(names=[name])
        return self.ask("describe_parameters", request).descriptors[0]

    def wait_for_status(self, task, condition, what):
        """Wait for a fresh status of /diagnostics that fulfils `condition(status, values)`."""
        self.diagnostics.clear()

        def find():
            for message in self.diagnostics:
                for status in message.status:
                    values = {v.key: v.value for v in status.values}
                    if status.name == f"{self._name}: {task}" and condition(status, values):
                        return status, values
            return None

        return self.wait_until(find, what)


def _python_path():
    """The node comes from where the test's own erf_seg_ros comes from."""
    import erf_seg_ros

    folder = str(Path(erf_seg_ros.__file__).parents[1])
    return os.pathsep.join(filter(None, [folder, os.environ.get("PYTHONPATH", "")]))
