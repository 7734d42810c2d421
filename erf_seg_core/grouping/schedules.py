"""How α goes from 1 (dense) to 0 (grouped), per optimisation step."""

from __future__ import annotations

import math
from dataclasses import dataclass

SCHEDULES = ("linear", "power", "constant_linear")


@dataclass(frozen=True)
class AlphaSchedule:
    """α = (1 − (t − wait)/decay)^power between the wait and the end of the decay.

    Before, α is 1; after, it is 0 for good, so that the network is fine-tuned as the grouped
    network it will be. The paper (Section 3.3) gives neither shape nor length. `power` 3 is the
    cubic ramp of Zhu & Gupta, arXiv 1710.01878.
    """

    wait: int
    decay: int
    power: float = 1.0

    def __post_init__(self) -> None:
        """Refuse lengths and powers that give no schedule."""
        if self.wait < 0 or self.decay < 1 or not 0 < self.power < math.inf:
            raise ValueError(
                "a schedule needs wait ≥ 0 steps, decay ≥ 1 step and power > 0, "
                f"not {self.wait}, {self.decay} and {self.power}"
            )

    def __call__(self, step: int) -> float:
        """Return α for the optimisation step with that number, counted from 0."""
        progress = min(max((step - self.wait) / self.decay, 0.0), 1.0)
        return (1.0 - progress) ** self.power


def make_schedule(
    name: str = "linear",
    total_steps: int = 1000,
    hold: float = 0.4,
    wait: float | None = None,
    power: float | None = None,
) -> AlphaSchedule:
    """Build a schedule by name for a training of `total_steps` steps.

    `linear`: from the first step. `power`: the same with an exponent, 3 unless given.
    `constant_linear`: α stays 1 for the fraction `wait`, a fifth unless given, then falls linearly.
    In all of them α is 0 for the last fraction `hold`. Raises `ValueError` on an unknown name, on
    fractions that leave no room to decay, and on what the schedule of that name has no use for.
    """
    if name not in SCHEDULES:
        raise ValueError(f"no schedule '{name}': there are {', '.join(SCHEDULES)}")
    if total_steps < 1:
        raise ValueError(f"a training of {total_steps} steps leaves none for α")
    for option, value, user in (("wait", wait, "constant_linear"), ("power", power, "power")):
        if value is not None and name != user:
            raise ValueError(f"{option} is for the schedule '{user}', not '{name}'")
    waited = _or(wait, 0.2) if name == "constant_linear" else 0.0
    if not (0 <= hold < 1 and waited >= 0 and hold + waited < 1):
        raise ValueError(f"hold {hold} and wait {waited} leave no part of the training for α")
    wait_steps = min(round(total_steps * waited), total_steps - 1)
    decay_steps = max(1, round(total_steps * (1 - hold)) - wait_steps)
    return AlphaSchedule(wait_steps, decay_steps, _or(power, 3.0) if name == "power" else 1.0)


def _or(value: float | None, default: float) -> float:
    return default if value is None else value
