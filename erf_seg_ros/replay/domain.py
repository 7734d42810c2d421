"""A ROS domain of one's own, so that a replay neither hears nor disturbs a running robot."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from erf_seg_core.errors import ErfSegError

_LOCK_PORTS = 39000
# DDS's ports for domains up to 101 stay below Linux's ephemeral ones. From the far end, because
# people who choose a domain by hand choose a small number, and know nothing of our lock.
_DOMAINS = range(99, 0, -1)


@dataclass(frozen=True)
class PrivateDomain:
    """Environment for its processes; they shall inherit `lock_fd`, which keeps the domain taken."""

    environment: dict[str, str]
    lock_fd: int


@contextmanager
def private_domain() -> Iterator[PrivateDomain]:
    """Claim a ROS domain that no other replay on this machine uses, and that no other machine sees.

    Raises `ErfSegError` when all are taken.
    """
    own = os.environ.get("ROS_DOMAIN_ID", "0")
    for domain in _DOMAINS:
        if str(domain) == own:
            continue
        lock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            # A port outside DDS's range is the lock: the kernel frees it with its last holder.
            lock.bind(("127.0.0.1", _LOCK_PORTS + domain))
        except OSError:
            lock.close()
            continue
        environment = {"ROS_DOMAIN_ID": str(domain), **_this_machine_only()}
        with lock:
            yield PrivateDomain(environment, lock.fileno())
        return
    raise ErfSegError(f"{len(_DOMAINS)} replays are running on this machine; wait for one to end")


def _this_machine_only() -> dict[str, str]:
    if os.environ.get("ROS_DISTRO") == "humble":  # its name then; newer ROS warns about it
        return {"ROS_LOCALHOST_ONLY": "1"}
    return {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
