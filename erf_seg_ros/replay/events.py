"""How the replay's processes talk: a JSON object a line on stdout, logs on stderr, signals in."""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import sys
import threading
from collections.abc import Iterable, Iterator
from typing import Any


def emit(event: str, **fields: Any) -> None:
    """Report `event` at once to whoever started this process."""
    try:
        sys.stdout.write(json.dumps({"event": event, **fields}) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever started us is gone. The kernel's signal ends us (child_process.py), in order, not
        # an exception from wherever we happened to report something.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def read_events(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Events among a process's output lines; a library's stray prints are passed over."""
    for line in lines:
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict) and "event" in event:
            yield event


STOP_PLAYING = signal.SIGUSR1
"""Tells a player to send nothing more, but to stay: its last frames may still be read."""


LAST_RESORT_S = 30.0
"""What closing a bag may take on a slow disk, and more than anything else that an end takes."""


def set_on_signals(numbers: Iterable[signal.Signals], *events: threading.Event) -> None:
    """Have these signals set the events, so that a process ends where it chooses to.

    One that has not ended `LAST_RESORT_S` after SIGINT or SIGTERM says where it is stuck and ends.
    """

    def handle(number: int, *_: object) -> None:
        if number != STOP_PLAYING:
            faulthandler.dump_traceback_later(LAST_RESORT_S, exit=True)
        for event in events:
            event.set()

    for number in numbers:
        signal.signal(number, handle)
