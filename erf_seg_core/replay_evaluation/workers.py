"""Bags side by side in processes of this machine; a process that dies costs no result."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import replace

from .predictors import Networks
from .work import Done, Work, do_work, do_work_remotely

ATTEMPTS = 3
"""How often a bag may take its process down before it is given up."""

_POLL_S = 0.3

OnFrames = Callable[[int], None]
"""Told how many frames are done, of all bags together."""


def run_here(works: Sequence[Work], on_frames: OnFrames) -> Iterator[Done]:
    """One bag after the other in this process."""
    networks, before = Networks(), 0
    for work in works:
        base = before

        def done(frames: int, base: int = base) -> None:
            on_frames(base + frames)

        result = do_work(work, networks, done)
        yield result
        if result.interrupted:
            raise KeyboardInterrupt
        before += work.frames


def run_in_processes(works: Sequence[Work], workers: int, on_frames: OnFrames) -> Iterator[Done]:
    """So many bags at a time, each in a process of its own; in the order in which they finish.

    When a process dies, the bags that were being worked on are tried again, the finished ones are
    kept. A bag that may have killed two processes is tried a last time with nothing beside it. If
    the caller stops iterating or is interrupted, the works in progress end early and save what
    they have.
    """
    left, deaths, finished = list(works), Counter[int](), 0
    while left:
        suspects = [work for work in left if deaths[id(work)] == ATTEMPTS - 1]
        batch, at_once = (suspects[:1], 1) if suspects else (list(left), workers)
        for done in _run_until_death(batch, at_once, lambda n, base=finished: on_frames(base + n)):
            left.remove(done.work)
            finished += done.work.frames
            yield done
        died = [work for work in batch if work in left and work.progress_file.exists()]
        for work in died or [work for work in batch if work in left]:
            work.progress_file.unlink(missing_ok=True)
            deaths[id(work)] += 1
            if deaths[id(work)] == ATTEMPTS:
                left.remove(work)
                yield Done(
                    work,
                    f"its process died {ATTEMPTS} times, perhaps for want of memory; try fewer "
                    "workers",
                )


def _run_until_death(works: Sequence[Work], at_once: int, on_frames: OnFrames) -> Iterator[Done]:
    """Yields what finishes; ends early, without an error, when a process dies."""
    pool = ProcessPoolExecutor(
        min(at_once, len(works)), multiprocessing.get_context("spawn"), _begin_worker
    )
    finished = 0
    try:
        futures = {pool.submit(do_work_remotely, work): work for work in works}
        waiting, died = set(futures), False
        while waiting and not died:
            ready, waiting = wait(waiting, _POLL_S, FIRST_COMPLETED)
            for future in ready:
                if isinstance(future.exception(), BrokenProcessPool):
                    died = True
                    continue
                finished += futures[future].frames
                yield replace(future.result(), work=futures[future])
            on_frames(finished + sum(progress_of(futures[future]) for future in waiting))
    except BrokenProcessPool:  # while the works were handed out
        return
    finally:
        with stopping(works[0]):
            pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def stopping(work: Work) -> Iterator[None]:
    """While this lasts, workers in the middle of a bag end it early and save what they have."""
    work.stop_file.parent.mkdir(parents=True, exist_ok=True)
    work.stop_file.touch()
    try:
        yield
    finally:
        work.stop_file.unlink(missing_ok=True)


def progress_of(work: Work) -> int:
    """How many frames a worker has done of a bag; 0 before it has begun."""
    try:
        return int(work.progress_file.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 0


def _begin_worker() -> None:
    """Leave Ctrl-C to the parent, which ends the work in order, and never outlive it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
