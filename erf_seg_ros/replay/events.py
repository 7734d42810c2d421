"""How the replay's processes talk: a JSON object a line on stdout, logs on stderr, signals in."""

from __future__ import annotations

import json
import signal
import sys
import threading
from collections.abc import Iterable, Iterator
from typing import Any


def emit(event: str, **fields: Any) -> None:
    """Report `event` at once to whoever started this process."""
    sys.stdout.write(json.dumps({"event": event, **fields}) + "\n")
    sys.stdout.flush()


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


def set_on_signals(numbers: Iterable[signal.Signals], *events: threading.Event) -> None:
    """Have these signals set the events, so that a process ends where it chooses to."""

    def handle(*_: object) -> None:
        for event in events:
            event.set()

    for number in numbers:
        signal.signal(number, handle)
