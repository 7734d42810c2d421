import os
import signal
from contextlib import contextmanager
from pathlib import Path

import pytest

from erf_seg_ros.replay.domain import private_domain

# Tests run side by side, and PyTorch's threads wait for each other: on busy cores two take several
# times as long as one. Before PyTorch is imported, and for the processes that tests start.
os.environ["OMP_NUM_THREADS"] = "1"

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # As in a job that a script put into the background: our children would inherit the deafness.
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, lambda *_: None)  # as under nohup: deaf, but our children are not

LONG_FILES = ("test_node_cycles.py", "test_training_run.py", "test_replay_live.py")


def pytest_collection_modifyitems(items):
    """Begin with the files that take minutes: last, they would leave the other worker idle."""
    items.sort(key=lambda item: item.path.name not in LONG_FILES)


@pytest.fixture(scope="session")
def data_dir():
    """Folder with the research data sets; tests that need it skip where it is absent."""
    folder = os.environ.get("ERF_SEG_DATA", "")
    if not folder or not Path(folder).is_dir():
        pytest.skip("ERF_SEG_DATA does not name the folder with CamVid, Cityscapes and weights")
    return Path(folder)


@contextmanager
def own_ros_domain(patch):
    """Enter a ROS domain that no other test on this machine uses, and no other machine sees."""
    with private_domain() as domain:
        for name, value in domain.environment.items():
            patch.setenv(name, value)
        yield int(domain.environment["ROS_DOMAIN_ID"])


@pytest.fixture
def ros_domain_id(monkeypatch):
    """A ROS domain of this test's own; child processes inherit it."""
    with own_ros_domain(monkeypatch) as domain:
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
    with pytest.MonkeyPatch.context() as patch, own_ros_domain(patch) as domain:
        yield domain
