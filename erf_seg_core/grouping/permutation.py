"""Reordering channels so that the groups keep as much weight as they can.

Zhao & Luk, "Efficient Structured Pruning and Architecture Searching for Group Convolution"
(arXiv 1811.09341) permute the rows and columns of a trained dense weight so that its block diagonal
is heavy. A permutation costs nothing at inference where no one else sees the order of the channels:
between two convs with only channel-wise layers (norms, activations, depthwise convs) in between,
the rows of the first, those layers and the columns of the second are rewritten in the new order and
the network computes what it did. `FreeChannels` names such a place; a channel shuffle on the way
stays where it is and is taken into account.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from .parametrization import FadingGroups


@dataclass(frozen=True)
class FreeChannels:
    """Channels whose order is nobody else's business, by module names.

    `producer` makes them, `consumer` is the only one to read them. `before` and `after` are the
    layers with parameters on the way, all channel-wise. `shuffle` is the number of groups of a
    channel shuffle between `before` and `after`, 1 for none: position j after it holds position
    `shuffle_order(n, groups)[j]` before it.
    """

    producer: str
    consumer: str
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    shuffle: int = 1


@dataclass(frozen=True)
class Move:
    """One rewriting: `tensor` (its state-dict name) is indexed along `dim` by `order`."""

    tensor: str
    dim: int
    order: torch.Tensor


def shuffle_order(channels: int, groups: int) -> torch.Tensor:
    """Which channel a ShuffleNet channel shuffle puts at each position, int64 of `channels`."""
    return torch.arange(channels).view(groups, -1).T.reshape(-1)


def apply_moves(tensors: Mapping[str, torch.Tensor], moves: Iterable[Move]) -> None:
    """Rewrite tensors in place; names that are absent are left out, so it serves an EMA too.

    Raises `ValueError` if none of the names is there: they are those of the grouping's model.
    """
    moves = list(moves)
    if moves and not any(move.tensor in tensors for move in moves):
        raise ValueError(
            f"no tensor is called {moves[0].tensor} or any other of these moves; of a wrapper such "
            "as AveragedModel or DistributedDataParallel give its `.module`'s tensors"
        )
    with torch.no_grad():
        for move in moves:
            tensor = tensors.get(move.tensor)
            if tensor is not None:
                tensor.copy_(tensor.index_select(move.dim, move.order.to(tensor.device)))


def apply_moves_to_optimizer(
    optimizer: torch.optim.Optimizer, parameters: Mapping[str, nn.Parameter], moves: Iterable[Move]
) -> None:
    """Let the optimizer's moments follow the parameters that moved."""
    for move in moves:
        parameter = parameters.get(move.tensor)
        if parameter is None:
            continue
        for value in optimizer.state.get(parameter, {}).values():
            if torch.is_tensor(value) and value.shape == parameter.shape:
                apply_moves({move.tensor: value}, [move])


def plan_moves(
    model: nn.Module, places: Sequence[FreeChannels], groups: Mapping[str, int], rounds: int = 10
) -> list[Move]:
    """Find the orders that put the most |weight| inside the groups of the convs in `groups`.

    Each place alone is a linear assignment of channels to positions, solved exactly; places that
    share a conv are visited in turn until none gains. The model is left as it was: apply the moves
    with `apply_moves(named tensors, moves)`. Raises `ValueError` naming a layer that does not fit.
    """
    shapes = [_checked(model, place) for place in places]
    _refuse_overlap(model, places)
    weights = {
        name: _magnitude(model.get_submodule(name))
        for place in places
        for name in (place.producer, place.consumer)
    }
    orders = [torch.arange(n) for n in shapes]
    for _ in range(rounds):
        gained = False
        for i, place in enumerate(places):
            change = _best_order(place, weights, groups)
            if change is None:
                continue
            gained = True
            orders[i] = orders[i][change]
            after = _order_after_shuffle(change, place.shuffle)
            weights[place.producer] = weights[place.producer][change]
            weights[place.consumer] = weights[place.consumer][:, after]
        if not gained:
            break
    return [
        move
        for place, order in zip(places, orders, strict=True)
        if not torch.equal(order, torch.arange(len(order)))
        for move in _moves(model, place, order)
    ]


def mass_inside(weight: torch.Tensor, groups: int) -> float:
    """Share of |weight| (O×I×k×k) that lies on the block diagonal of `groups` blocks."""
    mass = weight.detach().abs().sum((2, 3))
    blocks = [rows.chunk(groups, 1)[g].sum() for g, rows in enumerate(mass.chunk(groups, 0))]
    return float(sum(blocks) / mass.sum())


def _best_order(
    place: FreeChannels, weights: Mapping[str, torch.Tensor], groups: Mapping[str, int]
) -> torch.Tensor | None:
    """Order for one place, or None where no order holds more mass than the present one."""
    produced, consumed = weights[place.producer], weights[place.consumer]
    n = produced.shape[0]
    to_consumer = torch.argsort(shuffle_order(n, place.shuffle))
    gain = torch.zeros(n, n, dtype=torch.float64)  # position × channel
    position = torch.arange(n)
    if place.producer in groups:
        g = groups[place.producer]
        mass = torch.stack([part.sum(1) for part in produced.chunk(g, 1)])  # group × channel
        gain += mass[position * g // n]
    if place.consumer in groups:
        g = groups[place.consumer]
        mass = torch.stack([part.sum(0) for part in consumed.chunk(g, 0)])[:, to_consumer]
        gain += mass[to_consumer * g // n]
    order = torch.from_numpy(solve_assignment(-gain.numpy()))
    better = gain[position, order].sum() - gain.diagonal().sum()
    return order if better > 1e-9 * gain.sum() else None


def solve_assignment(cost: np.ndarray) -> np.ndarray:
    """Column for each row of a square float64 n×n cost matrix, least total cost, int64 n.

    Shortest augmenting paths (Jonker & Volgenant 1987) with the inner loop in NumPy: 0.1 s for
    n = 128, which is why SciPy is not needed for it.
    """
    n = len(cost)
    row_of = np.full(n + 1, -1)  # the column's row; column n is the root of each search
    price, rebate = np.zeros(n), np.zeros(n + 1)
    for row in range(n):
        row_of[n] = row
        column = n
        shortest = np.full(n, np.inf)
        previous = np.full(n, n)
        visited = np.zeros(n + 1, bool)
        while row_of[column] >= 0:
            visited[column] = True
            r = row_of[column]
            reduced = cost[r] - price[r] - rebate[:n]
            closer = ~visited[:n] & (reduced < shortest)
            shortest[closer] = reduced[closer]
            previous[closer] = column
            column = int(np.argmin(np.where(visited[:n], np.inf, shortest)))
            step = shortest[column]
            price[row_of[visited]] += step
            rebate[visited] -= step
            shortest[~visited[:n]] -= step
        while column != n:
            row_of[column] = row_of[previous[column]]
            column = int(previous[column])
    columns = np.empty(n, np.int64)
    columns[row_of[:n]] = np.arange(n)
    return columns


def _order_after_shuffle(order: torch.Tensor, shuffle: int) -> torch.Tensor:
    """Translate an order of the positions before a shuffle into the positions after it."""
    through = shuffle_order(len(order), shuffle)
    return torch.argsort(through)[order[through]]


def _magnitude(conv: nn.Module) -> torch.Tensor:
    weight = dense_weight(conv)
    return weight.detach().abs().sum((2, 3)).double().cpu()


def dense_weight(conv: nn.Module) -> torch.Tensor:
    """Return the weight under the parametrization, where there is one."""
    if hasattr(conv, "parametrizations"):
        return conv.parametrizations.weight.original
    return conv.weight


def _checked(model: nn.Module, place: FreeChannels) -> int:
    """Return the channel count of a place after checking that its layers agree on it."""
    producer = _layer(model, place.producer)
    consumer = _layer(model, place.consumer)
    for name, conv in ((place.producer, producer), (place.consumer, consumer)):
        if not isinstance(conv, nn.Conv2d) or conv.groups != 1:
            raise ValueError(f"'{name}' is no dense Conv2d, so its channels cannot be reordered")
        if not _has_plain_weight(conv):
            raise ValueError(
                f"'{name}' computes its weight from others (weight_norm, pruning, …), so its "
                "channels cannot be reordered"
            )
    n = producer.out_channels
    if consumer.in_channels != n:
        raise ValueError(
            f"'{place.producer}' gives {n} channels but '{place.consumer}' takes "
            f"{consumer.in_channels}; something between them changes the channels"
        )
    if n % place.shuffle:
        raise ValueError(f"{n} channels of '{place.producer}' do not divide by {place.shuffle}")
    for name in (*place.before, *place.after):
        if not _is_channel_wise(_layer(model, name), n):
            raise ValueError(
                f"'{name}' is not a channel-wise layer of {n} channels, so they cannot be "
                "reordered past it"
            )
    return n


def _has_plain_weight(conv: nn.Conv2d) -> bool:
    """Whether the weight is a parameter, at most under our own parametrization."""
    ours = getattr(conv, "parametrizations", None)
    if ours is None:
        return isinstance(conv._parameters.get("weight"), nn.Parameter)
    return list(ours) == ["weight"] and all(isinstance(p, FadingGroups) for p in ours["weight"])


def _refuse_overlap(model: nn.Module, places: Sequence[FreeChannels]) -> None:
    """A layer gives, passes on or takes the channels of one place only, or reorders them twice."""
    seen: set[tuple[str, int]] = set()
    for place in places:
        passing = (*place.before, *place.after)
        roles = [("gives", place.producer), ("takes", place.consumer)]
        for role, name in [*roles, *(("passes on", name) for name in passing)]:
            key = (role, id(_layer(model, name)))
            if key in seen:
                raise ValueError(f"'{name}' {role} the channels of two places in free_channels")
            seen.add(key)
        if _layer(model, place.producer) is _layer(model, place.consumer):
            raise ValueError(f"'{place.producer}' and '{place.consumer}' are the same module")


def _layer(model: nn.Module, name: str) -> nn.Module:
    try:
        return model.get_submodule(name)
    except AttributeError as error:
        raise ValueError(f"'{name}' is missing, so its channels cannot be reordered") from error


def _is_channel_wise(layer: nn.Module, channels: int) -> bool:
    """Whether each channel is treated by itself, or all of them alike."""
    if isinstance(layer, nn.Conv2d):
        return layer.groups == layer.out_channels == channels
    if _is_shared_prelu(layer):
        return True
    if isinstance(layer, nn.GroupNorm) and layer.num_groups not in (1, channels):
        return False  # its statistics depend on which channels are neighbours
    tensors = [t for t in layer.state_dict().values() if t.ndim]
    return all(t.ndim == 1 and len(t) == channels for t in tensors)


def _is_shared_prelu(layer: nn.Module) -> bool:
    """Whether it is PyTorch's default PReLU, with one slope for all channels."""
    return isinstance(layer, nn.PReLU) and layer.num_parameters == 1


def _moves(model: nn.Module, place: FreeChannels, order: torch.Tensor) -> list[Move]:
    after = _order_after_shuffle(order, place.shuffle)
    moves = []
    for name in (place.producer, *place.before):
        moves += _all_tensors(model, name, order)
    for name in place.after:
        moves += _all_tensors(model, name, after)
    consumer = model.get_submodule(place.consumer)
    weight = (
        "parametrizations.weight.original" if hasattr(consumer, "parametrizations") else "weight"
    )
    return [*moves, Move(f"{place.consumer}.{weight}", 1, after)]


def _all_tensors(model: nn.Module, name: str, order: torch.Tensor) -> list[Move]:
    layer = model.get_submodule(name)
    if _is_shared_prelu(layer):
        return []
    tensors = {k: t for k, t in layer.state_dict().items() if t.ndim and not _is_fading(k)}
    return [Move(f"{name}.{key}", 0, order) for key in tensors]


def _is_fading(key: str) -> bool:
    return key.startswith("parametrizations.") and not key.endswith(".original")
