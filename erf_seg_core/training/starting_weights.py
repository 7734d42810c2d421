"""What a network begins with: the weights of another training, as far as they fit."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ..checkpoint import find_checkpoint, load_checkpoint
from ..errors import ErfSegError
from ..grouping import apply_moves
from ..models import SegmentationNetwork, build_model, get_spec
from .tasks import moves_between_shuffles

_LAST_LAYER = "decoder.output_conv."
_GROUPED_ALREADY = (
    "; it is grouped already, while gradual grouping begins with a dense network: start from a "
    "dense model's checkpoint, or remove 'grouping' from the recipe"
)
_NAMED = 3  # of the tensors that start afresh


def load_starting_weights(
    net: SegmentationNetwork, path: str, classes: Sequence[str], gradual: bool
) -> list[str]:
    """Start from a checkpoint whose tensors have this network's names and shapes.

    The last layer is left out if it is of other classes than `classes`, and an encoder starts a
    whole network: what the checkpoint has nothing for stays as it is, and is named in the answer.
    `gradual`: the network's groups are still to evolve, so it is dense as yet. A dense checkpoint
    may start a model that shuffles: its channels are put where the shuffle will bring them back
    from, so that the network computes what the checkpoint's did.
    """
    info, tensors = load_checkpoint(find_checkpoint(path))
    own = net.state_dict()
    other_classes = tuple(info.class_set.names) != tuple(classes)
    misfits = [
        k
        for k, v in tensors.items()
        if k not in own or own[k].shape != v.shape or (other_classes and _is_of_last_layer(k))
    ]
    if wrong := [k for k in misfits if k not in own or not _is_of_last_layer(k)]:
        raise ErfSegError(
            f"cannot start from {path}: {wrong[0]} does not fit this recipe's model"
            + (_GROUPED_ALREADY if gradual and get_spec(info.model).groups > 1 else "")
        )
    tensors = {k: v for k, v in tensors.items() if k not in misfits}
    if info.module_order != net.module_order:
        raise ErfSegError(
            f"{path} has module_order '{info.module_order}', this recipe '{net.module_order}'"
        )
    with torch.device("meta"):
        origin = build_model(info.model, info.num_outputs, info.module_order)
    apply_moves(tensors, moves_between_shuffles(origin, net))
    return list(net.load_state_dict(tensors, strict=False).missing_keys)


def named_briefly(fresh: Sequence[str]) -> str:
    """Which tensors those names are, in a few words."""
    if all(map(_is_of_last_layer, fresh)):
        return "the last layer"
    more = f" and {len(fresh) - _NAMED} more" if len(fresh) > _NAMED else ""
    return ", ".join(fresh[:_NAMED]) + more


def _is_of_last_layer(name: str) -> bool:
    return name.startswith(_LAST_LAYER)
