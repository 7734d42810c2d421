import os
import signal
import socket
from contextlib import contextmanager
from pathlib import Path

import pytest

from erf_seg_ros.replay.domain import this_machine_only

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # As in a job that a script put into the background: our children would inherit the deafness.
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, lambda *_: None)  # as under nohup: deaf, but our children are not


@pytest.fixture(scope="session")
def data_dir():
    """Folder with the research data sets; tests that need it skip where it is absent."""
    folder = os.environ.get("ERF_SEG_DATA", "")
    if not folder or not Path(folder).is_dir():
        pytest.skip("ERF_SEG_DATA does not name the folder with CamVid, Cityscapes and weights")
    return Path(folder)


@contextmanager
def free_ros_domain():
    """Claim a ROS domain that no other test on this machine uses."""
    for domain in (*range(50, 100), *range(1, 50)):  # people who choose by hand choose small ones
        lock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            # Binding a port outside the DDS range is the lock: the kernel frees it if we die.
            lock.bind(("127.0.0.1", 39000 + domain))
        except OSError:
            lock.close()
            continue
        with lock:
            yield domain
        return
    pytest.fail("no free ROS domain on this machine")


def enter_ros_domain(patch, domain):
    """Unseen by other machines, on which somebody may run the same tests, or a robot."""
    patch.setenv("ROS_DOMAIN_ID", str(domain))
    for name, value in this_machine_only().items():
        patch.setenv(name, value)


@pytest.fixture
def ros_domain_id(monkeypatch):
    """A ROS domain of this test's own; child processes inherit it."""
    with free_ros_domain() as domain:
        enter_ros_domain(monkeypatch, domain)
        yield domain


@pytest.fixture
def context(ros_domain_id):
    """An rclpy context in a ROS domain of this test's own."""
    rclpy = pytest.importorskip("rclpy", reason="ROS 2 is not installed")
    context = rclpy.Context()
    rclpy.init(context=context)
    yield context
    rclpy.shutdown(context=context)


@pytest.fixture(scope="module")
def module_ros_domain_id():
    """A ROS domain of this test module's own, for a node that several tests share."""
    with free_ros_domain() as domain, pytest.MonkeyPatch.context() as patch:
        enter_ros_domain(patch, domain)
        yield domain
