"""Interleaved rounds: in each, every contender has its turn, in an order of its own."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

Key = TypeVar("Key")


@dataclass
class Durations:
    """Milliseconds of each round's call: by the clock, and of all the process's threads together.

    Work on a GPU is in the first only.
    """

    ms: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)


WARM_UP_CALLS = 2


def warm_up(call: Callable[[], object]) -> None:
    """Run what allocates, compiles and chooses algorithms in its first calls."""
    for _ in range(WARM_UP_CALLS):
        call()


def measure_rounds(
    calls: dict[Key, Callable[[], object]],
    rounds: int,
    seed: int,
    times: dict[Key, Durations],
    on_round: Callable[[], None] = lambda: None,
    on_failure: Callable[[Key, Exception], None] | None = None,
) -> None:
    """Append the duration of every call to its entry in `times`, once per round.

    The order within a round is shuffled (by `seed`), so that no call always follows the same other.
    A turn is two calls, of which the second is timed: the first brings back into the caches what
    the others pushed out, and lets their threads fall asleep; a camera's frames too follow each
    other in one network.

    Rounds are appended whole: after Ctrl-C, which passes through, index i of every list is still
    the same round. A call that fails is told to `on_failure` and takes part no longer, nor is it in
    `times`; without `on_failure` its exception passes through.
    """
    rng = np.random.default_rng(seed)
    keys = list(calls)
    for key in keys:
        times[key] = Durations()
    for _ in range(rounds):
        one_round = {}
        for key in [keys[i] for i in rng.permutation(len(keys))]:
            try:
                one_round[key] = _measure_turn(calls[key])
            except Exception as error:
                if on_failure is None:
                    raise
                keys.remove(key)
                del times[key]
                on_failure(key, error)
        for key, (ms, cpu_ms) in one_round.items():
            times[key].ms.append(ms)
            times[key].cpu_ms.append(cpu_ms)
        on_round()


def _measure_turn(call: Callable[[], object]) -> tuple[float, float]:
    call()
    start, cpu_start = time.perf_counter(), time.process_time()
    call()
    end, cpu_end = time.perf_counter(), time.process_time()
    return 1000.0 * (end - start), 1000.0 * (cpu_end - cpu_start)
