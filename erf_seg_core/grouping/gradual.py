"""Gradual grouping of any network: attach, step, fold.

Vallurupalli et al., CVPRW 2018, Section 3.3: train a dense conv whose cross-group weights are
multiplied by α, let α go from 1 to 0, fine-tune, then keep only the blocks: a grouped conv.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral
from typing import Literal

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from .parametrization import FadingGroups, attach, fold_conv
from .permutation import (
    FreeChannels,
    Move,
    apply_moves,
    apply_moves_to_optimizer,
    plan_moves,
)

Targets = Mapping[str, int] | Callable[[str, nn.Conv2d], int]
Permute = Literal["magnitude"] | None


class GradualGrouping:
    """Turns dense convs of a model into grouped ones while it trains.

    >>> grouping = GradualGrouping(model, {"block.conv2": 4}, make_schedule("linear", steps))
    >>> for batch in batches:
    ...     train_on(batch)
    ...     grouping.step()
    >>> grouping.fold()

    All state is in buffers of the model, so the model's own `state_dict` resumes it: attach again,
    then load. The convs' parameter objects do not change until `fold`, so the optimizer may be
    made before or after; under `DistributedDataParallel` or `torch.compile`, attach first.
    """

    def __init__(
        self,
        model: nn.Module,
        targets: Targets,
        schedule: Callable[[int], float],
        permute: Permute = None,
        free_channels: Sequence[FreeChannels] = (),
    ) -> None:
        """Attach to the convs named in `targets`, at α = `schedule(0)`.

        Args:
            model: any module; `nn.Conv2d` of any kernel size are its possible targets.
            targets: groups by module name, or a function of name and conv that returns the number
                of groups (1: leave this conv dense).
            schedule: α by step number, for example from `make_schedule`.
            permute: "magnitude" reorders the channels of `free_channels`, at the step at which α
                first falls below 1, so that the groups keep the largest share of |weight|. The
                network's outputs do not change by it, if those places are what they are said to be.
            free_channels: where channels may be reordered.

        Raises:
            ValueError: a target is no dense Conv2d, its channels do not divide by its groups, or a
                place in `free_channels` does not fit; the message names the layer.

        """
        if permute not in (None, "magnitude"):
            raise ValueError(f"permute is '{permute}'; it is None or 'magnitude'")
        if permute and not free_channels:
            raise ValueError("permute needs free_channels: the places where channels may move")
        if permute and schedule(0) < 1:
            raise ValueError(
                f"permute needs a schedule that begins at 1, not {schedule(0):g}: only a dense "
                "network's channels can be reordered freely"
            )
        self.model = model
        self.groups = resolve_targets(model, targets)
        self.schedule = schedule
        self.permute = permute
        self.free_channels = tuple(free_channels)
        if free_channels:  # refuse misfits before anything is attached
            plan_moves(model, self.free_channels, self.groups, rounds=0)
        start = _checked_alpha(schedule(0))
        self._fading = {
            name: attach(model.get_submodule(name), groups) for name, groups in self.groups.items()
        }
        self._set_alpha(start)

    @property
    def alpha(self) -> float:
        """The present factor of the cross-group weights."""
        return float(self._first.alpha)

    @property
    def steps(self) -> int:
        """Optimisation steps taken, saved with the model."""
        return int(self._first.steps)

    def step(self, optimizer: torch.optim.Optimizer | None = None) -> list[Move]:
        """Go on to the next α; call once after each optimisation step.

        Where channels are permuted, it happens in the one call that takes α below 1: the moments
        of `optimizer` follow, and the moves are returned for whatever else shadows the parameters
        (`apply_moves(ema, moves)`). Otherwise the list is empty.
        """
        steps = self.steps + 1
        alpha = _checked_alpha(self.schedule(steps))
        moves = []
        # By the schedule, because the buffer rounds where weights are of 16 bits.
        if self.permute and alpha < 1 and self.schedule(steps - 1) == 1:
            moves = self._reorder(optimizer)
        for fading in self._fading.values():
            fading.steps.fill_(steps)
        self._set_alpha(alpha)
        return moves

    def fold(self) -> nn.Module:
        """Replace every target by the real grouped conv, in place, and return the model.

        Outputs stay equal (within rounding). Make a new optimizer afterwards. Raises `ValueError`
        while α is not 0, because the outputs would change.
        """
        if self.alpha != 0:
            raise ValueError(
                f"α is {self.alpha:g}: folding now would cut weights that are in use; "
                "train until the schedule has brought it to 0"
            )
        for name, groups in self.groups.items():
            fold_conv(self.model.get_submodule(name), groups)
        self._fading = {}
        return self.model

    @property
    def _first(self) -> FadingGroups:
        if not self._fading:
            raise ValueError("this grouping has been folded")
        return next(iter(self._fading.values()))

    def _set_alpha(self, alpha: float) -> None:
        for fading in self._fading.values():
            fading.alpha.fill_(alpha)

    def _reorder(self, optimizer: torch.optim.Optimizer | None) -> list[Move]:
        moves = plan_moves(self.model, self.free_channels, self.groups)
        # Under all their names: a module may be registered under two, and moves may say either.
        parameters = dict(self.model.named_parameters(remove_duplicate=False))
        apply_moves({**parameters, **dict(self.model.named_buffers(remove_duplicate=False))}, moves)
        if optimizer is not None:
            apply_moves_to_optimizer(optimizer, parameters, moves)
        return moves


def resolve_targets(model: nn.Module, targets: Targets) -> dict[str, int]:
    """Groups by conv name, checked; `ValueError` names the layer that does not fit."""
    if callable(targets):
        convs = [(n, m) for n, m in model.named_modules() if isinstance(m, nn.Conv2d)]
        chosen = {name: targets(name, conv) for name, conv in convs}
        chosen = {name: groups for name, groups in chosen.items() if groups != 1}
    elif isinstance(targets, Mapping):
        chosen = dict(targets)
    else:
        raise ValueError("targets are groups by module name, such as {'block.conv2': 4}")
    if not chosen:
        raise ValueError("no convolution was chosen for gradual grouping")
    modules = dict(model.named_modules(remove_duplicate=False))
    holders = Counter(id(p) for m in model.modules() for p in m._parameters.values())
    named: dict[int, str] = {}
    for name, groups in chosen.items():
        conv = modules.get(name)
        _check_target(name, conv, groups)
        if named.setdefault(id(conv), name) != name:
            raise ValueError(f"'{name}' is the same module as '{named[id(conv)]}': name it once")
        if holders[id(conv.weight)] > 1:
            raise ValueError(f"'{name}' shares its weight with another layer, which needs it whole")
    return chosen


def _check_target(name: str, conv: nn.Module | None, groups: int) -> None:
    if isinstance(groups, bool) or not isinstance(groups, Integral):
        raise ValueError(f"'{name}' is to have {groups!r} groups, which is no whole number")
    if not isinstance(conv, nn.Conv2d):
        found = "missing" if conv is None else f"a {type(conv).__name__}"
        raise ValueError(f"'{name}' is {found}, not a Conv2d that could be grouped")
    if conv.groups != 1:
        raise ValueError(f"'{name}' has {conv.groups} groups already; only a dense conv can start")
    if hasattr(conv, "parametrizations"):
        raise ValueError(f"'{name}' already carries a parametrization")
    if not isinstance(conv._parameters.get("weight"), nn.Parameter) or is_lazy(conv.weight):
        raise ValueError(
            f"'{name}' has no plain weight that could fade: is it pruned, under torch.nn.utils' "
            "old weight_norm, or not initialised?"
        )
    if groups < 2 or conv.in_channels % groups or conv.out_channels % groups:
        raise ValueError(
            f"'{name}' has {conv.in_channels} input and {conv.out_channels} output channels, "
            f"which do not divide into {groups} groups"
        )


def _checked_alpha(alpha: float) -> float:
    if not 0 <= alpha <= 1:
        raise ValueError(f"the schedule gives α = {alpha}; it must lie between 0 and 1")
    return alpha
