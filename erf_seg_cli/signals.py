"""SIGTERM and SIGHUP as Ctrl-C: a service that is stopped keeps what it has, as at a keyboard."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def ended_as_by_ctrl_c() -> Iterator[None]:
    """While this lasts, the first SIGTERM or SIGHUP raises `KeyboardInterrupt`; later ones nothing.

    A closing terminal sends two, and the second must not break into the saving. What is ignored, as
    SIGHUP is under nohup, stays so. Only from the main thread.
    """
    asked = False

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if not asked:
            asked = True
            raise KeyboardInterrupt

    before = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGHUP)}
    before = {n: handler for n, handler in before.items() if handler is not signal.SIG_IGN}
    for number in before:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
