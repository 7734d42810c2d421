"""The state of a training that is not done, from which it goes on."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from ..errors import ErfSegError
from ..whole_file import whole_file
from .plain_data import build_dataclass
from .recipe import Recipe

STATE_FILE = "state.pt"

MAY_CHANGE = ("output", "data_root", "threads", "workers", "cache", "save_minutes", "notes")
"""Recipe keys that a resumed run may have with other values: they do not change the weights
(`threads` but for rounding)."""


def load_state(folder: Path, recipe: Recipe) -> dict[str, Any]:
    """Saved state of this recipe's run, empty if there is none."""
    path = folder / STATE_FILE
    if not path.exists():
        return {}
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        before = state["recipe"]
    except Exception as error:  # torch raises whatever a damaged archive leads it to
        raise ErfSegError(
            f"{path} is damaged, or no training's state ({type(error).__name__}); --restart begins "
            "anew"
        ) from error
    with suppress(ErfSegError):  # keys that came later have the values that they stand for
        before = build_dataclass(Recipe, before).to_dict()
    changed = [k for k, v in recipe.to_dict().items() if before.get(k) != v]
    changed = [k for k in changed if k not in MAY_CHANGE]
    if changed:
        raise ErfSegError(
            f"{folder} holds a run whose recipe differs in {', '.join(changed)}; "
            "choose another --output, or --restart to overwrite it"
        )
    return state


def write_state(folder: Path, state: dict[str, Any]) -> None:
    """Write it whole or not at all; `ErfSegError` if the disk refuses."""
    path = folder / STATE_FILE
    try:
        with whole_file(path) as partial:
            torch.save(state, partial)
    except (OSError, RuntimeError) as error:  # torch's own for a full disk
        raise ErfSegError(
            f"the disk refused {path} ({error}): make room, then give the same command again"
        ) from error
