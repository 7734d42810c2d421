import os
import socket
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data_dir():
    """Folder with the research data sets; tests that need it skip where it is absent."""
    folder = os.environ.get("ERF_SEG_DATA", "")
    if not folder or not Path(folder).is_dir():
        pytest.skip("ERF_SEG_DATA does not name the folder with CamVid, Cityscapes and weights")
    return Path(folder)


@pytest.fixture
def ros_domain_id(monkeypatch):
    """A ROS domain that no other test on this machine uses; child processes inherit it."""
    for domain in range(1, 100):
        lock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            # Binding a port outside the DDS range is the lock: the kernel frees it if we die.
            lock.bind(("127.0.0.1", 39000 + domain))
        except OSError:
            lock.close()
            continue
        monkeypatch.setenv("ROS_DOMAIN_ID", str(domain))
        yield domain
        lock.close()
        return
    pytest.fail("no free ROS domain on this machine")
