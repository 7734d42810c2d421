"""The guide's example is run as printed."""

import re
from pathlib import Path

from torch import nn

GUIDE = Path(__file__).parents[1] / "docs" / "gradual_grouping.md"


def test_the_guides_example_runs_and_ends_with_grouped_convolutions(capsys):
    (code,) = re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    names = {}
    exec(compile(code, str(GUIDE), "exec"), names)
    net = names["net"]
    assert type(net[3]) is type(net[6]) is nn.Conv2d
    assert (net[3].groups, net[6].groups) == (4, 8)
    assert "groups=4" in capsys.readouterr().out
