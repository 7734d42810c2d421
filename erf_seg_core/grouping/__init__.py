"""Gradual grouping for any `nn.Module`: parametrization, schedules, permutation, fold."""

from .densify import densify
from .gradual import GradualGrouping, resolve_targets
from .parametrization import FadingGroups
from .permutation import FreeChannels, Move, apply_moves, mass_inside, plan_moves, shuffle_order
from .schedules import SCHEDULES, AlphaSchedule, make_schedule

__all__ = [
    "SCHEDULES",
    "AlphaSchedule",
    "FadingGroups",
    "FreeChannels",
    "GradualGrouping",
    "Move",
    "apply_moves",
    "densify",
    "make_schedule",
    "mass_inside",
    "plan_moves",
    "resolve_targets",
    "shuffle_order",
]
