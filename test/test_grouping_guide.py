"""The guide's example is run as printed, and so is its check of the free channels."""

import re
from pathlib import Path

import pytest
import torch
from torch import nn

from erf_seg_core.grouping import FreeChannels

GUIDE = Path(__file__).parents[1] / "docs" / "gradual_grouping.md"
EXAMPLE, CHECK = re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)


def run(code, names):
    exec(compile(code, str(GUIDE), "exec"), names)


def test_the_guides_example_runs_and_ends_with_grouped_convolutions(capsys):
    names = {}
    run(EXAMPLE, names)
    net = names["net"]
    assert type(net[3]) is type(net[6]) is nn.Conv2d
    assert (net[3].groups, net[6].groups) == (4, 8)
    assert "groups=4" in capsys.readouterr().out


def test_the_guides_check_tells_right_places_from_wrong_ones():
    network, _, _ = EXAMPLE.partition("steps = ")
    names = {"images": torch.randn(8, 3, 16, 16)}
    run(network, names)
    for norm in names["net"][1], names["net"][4]:
        nn.init.uniform_(norm.weight, 0.5, 2)
        nn.init.normal_(norm.bias)
    run(CHECK, names)
    names["places"] = [FreeChannels("0", "3")]  # the norm between them is forgotten
    with pytest.raises(AssertionError):
        run(CHECK, names)
