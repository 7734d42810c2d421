import json

import pytest

from erf_seg_cli.main import main
from erf_seg_core import list_models


def test_table_shows_paper_and_real_costs_side_by_side(capsys):
    assert main(["models"]) == 0
    out = capsys.readouterr().out
    (line,) = (text for text in out.splitlines() if text.startswith("dg4_star_light "))
    assert {"203,984", "3.156", "63.80", "193,728"} <= set(line.split())
    assert "1,291,648 / 19.025" in out  # row D of Table 5, called what it is
    assert "_encoder" not in out


def test_json_lists_every_model(capsys):
    assert main(["models", "--all", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)["models"]}
    assert list(rows) == list_models()
    assert rows["erfnet"]["paper_accounting"] == {"params": 2_038_448, "gflops": 27.705}
    assert rows["erfnet"]["paper_miou"] == 70.45
    assert rows["dg2s_encoder"]["paper_printed"] is None


def test_unknown_model_is_refused(capsys):
    assert main(["models", "dg5"]) == 2
    assert "did you mean" in capsys.readouterr().err


@pytest.mark.parametrize("command", ("models", "import"))
def test_help_is_complete(capsys, command):
    with pytest.raises(SystemExit, match="0"):
        main([command, "--help"])
    assert "--json" in capsys.readouterr().out
