"""Bags side by side on a cluster, through Dask.

Dask and not Ray: it is pure Python and a tenth of the size, its workers start on a robot lab's
machines with one command (`dask worker ADDRESS`), and a dead worker's bags go to another by itself.
The machines share bags, checkpoints and the output folder under the same paths.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace

from ..errors import ErfSegError
from .work import Done, Work, do_work_remotely
from .workers import ATTEMPTS, OnFrames, progress_of, stopping

LOCAL = "local"
"""Instead of an address: a cluster of processes on this machine."""

_POLL_S = 0.3
_CONNECT_S = 20


def run_on_cluster(
    works: Sequence[Work], address: str, workers: int, on_frames: OnFrames
) -> Iterator[Done]:
    """Hand the bags to the scheduler at `address` ("tcp://host:8786"), or to `workers` processes.

    In the order in which they finish. Raises `ErfSegError` where Dask is not installed or nobody
    answers. If the caller is interrupted, works in progress end early and save what they have.
    """
    try:
        import distributed
    except ModuleNotFoundError:
        raise ErfSegError(
            "a cluster needs Dask: pip install 'erf_seg_ros[cluster]' (or distributed)"
        ) from None
    with _client(distributed, address, workers) as client:
        futures = client.map(do_work_remotely, works, pure=False)
        work_of = dict(zip(futures, works, strict=True))
        finished, waiting = 0, set(futures)
        try:
            while waiting:
                for future in _ready(distributed, waiting):
                    waiting.remove(future)
                    finished += work_of[future].frames
                    yield _done(distributed, future, work_of[future])
                on_frames(finished + sum(progress_of(work_of[future]) for future in waiting))
        finally:
            if waiting:
                with stopping(works[0]):
                    distributed.wait(waiting)


def _client(distributed: object, address: str, workers: int) -> object:
    if address == LOCAL:
        return distributed.Client(
            n_workers=workers,
            threads_per_worker=1,
            dashboard_address=None,
            silence_logs=logging.CRITICAL,
        )
    try:
        return distributed.Client(address, timeout=_CONNECT_S)
    except (OSError, ValueError) as error:
        raise ErfSegError(
            f"no Dask scheduler answers at {address} ({error}); start one with `dask scheduler`"
        ) from None


def _ready(distributed: object, waiting: set) -> list:
    try:
        return list(distributed.wait(waiting, _POLL_S, "FIRST_COMPLETED").done)
    except distributed.TimeoutError:  # not the builtin one before Python 3.11
        return []


def _done(distributed: object, future: object, work: Work) -> Done:
    try:
        return replace(future.result(), work=work)
    except distributed.KilledWorker:
        return Done(work, f"its worker died {ATTEMPTS} times, perhaps for want of memory")
