"""The registry: every model of the paper by name, each a small spec.

Names follow the paper (Section 4.1): D is depthwise-separable, DG(C) has C groups, S shuffles;
`_star` replaces all 13 encoder modules (Table 1), the plain names only the last ones of each stage
(Table 2), `_star_light` is the paper's "-proposed" with the light decoder (Table 4), `_encoder` has
no decoder (Section 5.3).
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, replace
from typing import Literal

from ..errors import ErfSegError

Decoder = Literal["full", "light", "none"]
Family = Literal["baseline", "selective", "star", "light"]


@dataclass(frozen=True)
class ModelSpec:
    """What distinguishes one model of the zoo from another."""

    name: str
    family: Family
    groups: int = 1
    shuffle: bool = False
    decoder: Decoder = "full"

    @property
    def replaced_64(self) -> range:
        """Which of the five 64-channel modules are depthwise (the others are Non-bt-1D)."""
        return {"baseline": range(0), "selective": range(3, 5)}.get(self.family, range(5))

    @property
    def replaced_128(self) -> range:
        """Which of the eight 128-channel modules are depthwise."""
        return {"baseline": range(0), "selective": range(4, 8)}.get(self.family, range(8))


def _grouped_specs() -> list[ModelSpec]:
    specs = [ModelSpec("d", "selective"), ModelSpec("d_star", "star")]
    specs.append(ModelSpec("d_star_light", "light", decoder="light"))
    for groups in (2, 4, 8):
        for suffix, shuffle in (("", False), ("s", True)):
            stem = f"dg{groups}{suffix}"
            specs.append(ModelSpec(stem, "selective", groups, shuffle))
            specs.append(ModelSpec(f"{stem}_star", "star", groups, shuffle))
        # The authors' released light models only work with the shuffle on, so these always have it.
        specs.append(ModelSpec(f"dg{groups}_star_light", "light", groups, True, "light"))
    return specs


def _registry() -> dict[str, ModelSpec]:
    order: dict[Family, int] = {"baseline": 0, "selective": 1, "star": 2, "light": 3}
    specs = sorted(
        [ModelSpec("erfnet", "baseline"), *_grouped_specs()],
        key=lambda s: (order[s.family], s.shuffle and s.family != "light", s.groups),
    )
    specs += [replace(s, name=f"{s.name}_encoder", decoder="none") for s in specs]
    return {s.name: s for s in specs}


_SPECS = _registry()


def list_models() -> list[str]:
    """Names of all models, baseline first, encoder-only ones last."""
    return list(_SPECS)


def parse_model_name(name: str) -> str:
    r"""Registry name of a model given by it or in the paper's spelling (`DG4*-proposed`, `DG2S\*`).

    Raises `ErfSegError` listing the known names and the nearest one.
    """
    key = name.strip().lower().replace("\\", "")
    key = re.sub(r"[\s-]+without[\s-]+decoder$", "_encoder", key)
    key = key.replace("*", "_star").replace("-proposed", "_light").replace("-", "_")
    key = re.sub(r"(?<=g)\((\d)\)", r"\1", key)
    if key in _SPECS:
        return key
    near = difflib.get_close_matches(key, _SPECS, n=1, cutoff=0.0)
    raise ErfSegError(
        f"no model '{name}'; did you mean '{near[0]}'? Known models: {', '.join(_SPECS)}"
    )


def get_spec(name: str) -> ModelSpec:
    """Spec of a model by any spelling of its name; unknown names raise `ErfSegError`."""
    return _SPECS[parse_model_name(name)]
