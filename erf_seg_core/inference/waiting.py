"""Say in the log that something long is under way, and for how long already."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

logger = logging.getLogger(__name__)


@contextmanager
def say_while_waiting(what: str, every_s: float = 10.0) -> Iterator[None]:
    """Log `what` as a warning, so that it is seen, again every so often, and the end."""
    start = time.monotonic()
    done = threading.Event()

    def remind() -> None:
        while not done.wait(every_s):
            logger.warning("%s; %.0f s so far", what, time.monotonic() - start)

    logger.warning("%s", what)
    reminder = threading.Thread(target=remind, name="say_while_waiting", daemon=True)
    reminder.start()
    try:
        yield
        logger.warning("done after %.0f s", time.monotonic() - start)
    finally:
        done.set()
        reminder.join()
