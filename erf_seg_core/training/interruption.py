"""Ctrl-C waits for the end of the optimisation step, so that what it reached can be saved."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interruption:
    """While it is entered, the first signal that would raise something is put off.

    A second Ctrl-C acts at once, for whoever does not want to wait; a closing terminal, which sends
    its signal twice, does not. Signals that are ignored or end the process by themselves are left
    alone; outside the main thread nothing is put off.
    """

    def __init__(self, wanted: bool, on_asked: Callable[[], None]) -> None:
        """`wanted` False puts nothing off; `on_asked` is called when a signal is."""
        self.asked = False
        self._wanted = wanted and threading.current_thread() is threading.main_thread()
        self._on_asked = on_asked
        self._number = signal.SIGINT
        self._process = os.getpid()
        self._before: dict[int, Callable[[int, FrameType | None], object]] = {}

    def __enter__(self) -> Interruption:
        """Begin to put signals off."""
        for number in _SIGNALS if self._wanted else ():
            handler = signal.getsignal(number)
            if callable(handler):
                self._before[number] = handler
                signal.signal(number, self._put_off)
        return self

    def __exit__(self, *_: object) -> None:
        """Put the handlers back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def act(self) -> None:
        """Do what the signal would have done: raise `KeyboardInterrupt`, as a rule."""
        self._before[self._number](self._number, None)

    def _put_off(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:
            return  # a worker that reads images: Ctrl-C reaches it, too, but this one ends it
        if not self.asked:
            self.asked, self._number = True, number
            self._on_asked()
        elif number == signal.SIGINT:
            self.act()
