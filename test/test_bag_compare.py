"""`erf_seg bag compare`: better or worse beyond noise, limits and their exit status, mismatches."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest

from erf_seg_cli.main import main
from erf_seg_core.errors import ErfSegError
from erf_seg_core.evaluation.bootstrap import Interval, paired_difference
from erf_seg_core.evaluation.comparison import Change, Limit, compare
from erf_seg_core.evaluation.frame_scores import FILE_NAME, FrameScores, common_rows

NAMES = ("road", "car", "never")
PERIOD_NS = 66_666_667


def drive(seed, right, ms, frames=80, bag="/data/drive", first=0, truth_pixels=(700, 300, 0)):
    """Scores of a model that is right in this share of the pixels, and its milliseconds."""
    rng = np.random.default_rng(seed)
    confusion = np.zeros((frames, 3, 4), np.int32)
    for index in range(frames):
        for c, pixels in enumerate(truth_pixels):
            hits = rng.binomial(pixels, right)
            confusion[index, c, c] = hits
            confusion[index, c, 1 - min(c, 1)] += pixels - hits
    return FrameScores(
        NAMES,
        np.array([bag] * frames),
        10**18 + PERIOD_NS * (first + np.arange(frames)),
        confusion,
        ms + rng.gamma(2.0, 1.0, frames),
    )


def renamed(scores):
    return replace(scores, class_names=("sky", "car", "never"))


def save(folder, model, scores):
    (folder / model).mkdir(parents=True, exist_ok=True)
    scores.save(folder / model / FILE_NAME)
    return f"{folder}:{model}"


@pytest.fixture
def out(tmp_path):
    """A result folder: "good", "worse" and slower, and "twin", as good as "good"."""
    save(tmp_path / "out", "good", drive(1, 0.90, 20.0))
    save(tmp_path / "out", "worse", drive(2, 0.85, 30.0))
    save(tmp_path / "out", "twin", drive(3, 0.90, 20.0))
    return tmp_path / "out"


def run(*arguments):
    return main(["bag", "compare", *map(str, arguments)])


def bags_of(*names):
    """Two bags with the same stamps."""
    parts = [drive(seed, 0.9, 20.0, bag=name) for seed, name in enumerate(names)]
    return replace(
        parts[0],
        **{
            field: np.concatenate([getattr(part, field) for part in parts])
            for field in ("bag", "stamps_ns", "confusion", "latency_ms")
        },
    )


def test_bags_of_one_name_in_two_folders_are_not_mixed_up():
    both = bags_of("night/drive", "rain/drive")
    rows = common_rows(both, both)
    assert (rows[0] == rows[1]).all()
    assert len(rows[0]) == len(both)
    assert compare(both, both).changes["mIoU"].difference.value == 0
    elsewhere = replace(both, bag=np.char.replace(both.bag, "night/", "old/"))
    rows = common_rows(both, elsewhere)  # rain/drive is there, night/drive may be anything
    assert set(both.bag[rows[0]]) == {"rain/drive"}
    moved = replace(drive(1, 0.9, 20.0), bag=np.array(["elsewhere/d"] * len(drive(1, 0.9, 20.0))))
    here = replace(moved, bag=np.array(["d"] * len(moved)))
    assert len(common_rows(moved, here)[0]) == len(moved)


def test_differences_are_those_of_the_common_frames():
    first, second = drive(1, 0.9, 20.0, frames=60), drive(2, 0.8, 25.0, frames=70, first=10)
    found = compare(first, second)
    assert (found.frames, found.scored, found.left_out) == (50, 50, (10, 20))
    a, b = first.confusion[10:], second.confusion[:50]
    expected = paired_difference(a, b)
    change = found.changes["mIoU"]
    assert change.difference.value == pytest.approx(100 * expected.miou.value)
    assert change.difference.low == pytest.approx(100 * expected.miou.low)
    assert change.second - change.first == pytest.approx(change.difference.value)
    assert change.verdict == "worse"
    assert found.changes["car"].difference.value == pytest.approx(100 * expected.iou[1].value)
    assert found.changes["never"].verdict == "within noise"
    slower = np.median(second.latency_ms[:50]) - np.median(first.latency_ms[10:])
    assert found.changes["latency_median"].difference.value == pytest.approx(slower)
    assert found.changes["latency_median"].verdict == "worse"


def test_bags_are_the_same_wherever_they_lie():
    first, second = drive(1, 0.9, 20.0), drive(2, 0.9, 20.0, bag="elsewhere/drive")
    assert compare(first, second).frames == 80
    with pytest.raises(ErfSegError, match="no frame in common"):
        compare(first, drive(2, 0.9, 20.0, bag="/data/other"))


def test_verdict_in_plain_words(out, capsys):
    assert run(f"{out}:good", f"{out}:worse") == 0
    text = capsys.readouterr().out
    assert "worse is worse than good beyond noise: mIoU −" in text
    assert "It is slower: median +" in text
    assert "80 frames in both, 80 of them with truth" in text
    assert run(f"{out}:worse", f"{out}:good") == 0
    assert "good is better than worse beyond noise: mIoU +" in capsys.readouterr().out
    assert run(f"{out}:good", f"{out}:twin") == 0
    assert "twin cannot be told from good by its mIoU" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("second", "limits", "status"),
    [
        ("worse", ["mIoU:0.5"], 1),
        ("worse", ["MIOU:0.5"], 1),
        ("worse", ["mIoU:50"], 0),
        ("worse", ["latency_p95:10%"], 1),
        ("worse", ["latency_p95:100%"], 0),
        ("worse", ["latency_median:5"], 1),
        ("worse", ["mIoU:50", "car:1"], 1),
        ("twin", ["mIoU:0", "latency_p95:0", "latency_median:0%"], 0),
    ],
)
def test_exit_status_says_whether_a_limit_is_broken(out, capsys, second, limits, status):
    assert run(f"{out}:good", f"{out}:{second}", "--fail-if-worse", *limits) == status
    assert ("FAILED: " in capsys.readouterr().out) == (status == 1)


def test_being_better_breaks_no_limit(out):
    assert run(f"{out}:worse", f"{out}:good", "--fail-if-worse", "mIoU:0", "latency_p95:0%") == 0


def test_a_drop_within_noise_breaks_no_limit():
    first = drive(1, 0.9, 20.0, frames=40)
    confusion = first.confusion.copy()
    moved = np.repeat([30, -40], 20)  # better in some frames, worse in others
    np.random.default_rng(0).shuffle(moved)
    confusion[:, 0, 0] += moved
    confusion[:, 0, 1] -= moved
    change = compare(first, replace(first, confusion=confusion)).changes["mIoU"]
    assert change.worse_by > 0
    assert change.verdict == "within noise"
    limit = Limit.parse("mIoU:0")
    assert not limit.is_broken(change)
    assert limit.is_broken(compare(drive(1, 0.9, 1.0), drive(2, 0.8, 1.0)).changes["mIoU"])


def test_a_short_recording_is_no_ground_for_a_verdict(tmp_path, capsys):
    """Ten frames: the numbers and the exit status stay, the claim does not."""
    a = save(tmp_path, "a", drive(1, 0.90, 20.0, frames=10))
    b = save(tmp_path, "b", drive(2, 0.80, 40.0, frames=10))
    assert run(a, b, "--fail-if-worse", "mIoU:0.5") == 1
    text, warning = capsys.readouterr()
    assert "10 frames in runs of 3 are too short to tell whether b is worse than a: mIoU" in text
    assert "It is slower: median +" in text  # twice the time is clear also by ten frames
    assert "beyond noise" not in text
    assert "too short for the interval of mIoU to mean much" in warning
    assert run(a, save(tmp_path, "c", drive(2, 0.80, 20.8, frames=10))) == 0
    assert "It seems slower, by only 10 timed frames: median +" in capsys.readouterr().out
    assert run(a, a, "--fail-if-worse", "mIoU:0.5") == 0
    assert "cannot be told from" in capsys.readouterr().out


def test_few_runs_tell_only_what_is_clear_of_twice_the_interval():
    def change(low, high, frames=101, block=16):
        interval = Interval((low + high) / 2, low, high)
        return Change("mIoU", "%", 50.0, 60.0, interval, True, frames, block)

    assert not change(12.0, 16.0).claims_too_much
    assert change(1.0, 5.0).claims_too_much
    assert change(-5.0, -1.0).claims_too_much
    assert not change(1.0, 5.0, block=10).claims_too_much
    assert not change(-1.0, 5.0).claims_too_much  # it claims nothing
    assert change(12.0, 16.0, frames=10, block=3).claims_too_much


def test_a_long_recording_gives_no_warning(out, capsys):
    assert run(f"{out}:good", f"{out}:worse", "--fail-if-worse", "mIoU:0.5") == 1
    assert capsys.readouterr().err == ""


def test_it_says_how_many_frames_were_timed(tmp_path, capsys):
    for name, seed in (("a", 1), ("b", 2)):
        scores = drive(seed, 0.9, 20.0)
        latency_ms = np.where(np.arange(len(scores)) % 16 < 8, scores.latency_ms, np.nan)
        save(tmp_path, name, replace(scores, latency_ms=latency_ms))
    assert run(tmp_path) == 0
    text = capsys.readouterr().out
    assert "80 frames in both" in text
    assert "latency over 40 timed frames" in text
    p95 = next(line for line in text.splitlines() if line.startswith("latency_p95"))
    assert re.fullmatch(r"latency_p95, ms +\d+\.\d +\d+\.\d .*", p95)


def test_models_that_the_last_run_left_out_are_not_compared(out, capsys):
    summary = {"models": {"worse": {}, "good": {}}}
    (out / "summary.json").write_text(json.dumps(summary))
    for stale in (f"{out}:twin", out / "twin"):
        assert run(f"{out}:good", stale) == 2
        said = capsys.readouterr().err
        assert f"{out} holds an older run's twin, which its summary.json does not list" in said
    assert run(out) == 0  # the two that are left
    assert "good is better than worse" in capsys.readouterr().out


def test_json_is_one_document(out, capsys):
    limit = ["--fail-if-worse", "mIoU:0.5"]
    assert run(f"{out}:good", f"{out}:worse", "--json", *limit) == 1
    data = json.loads(capsys.readouterr().out)
    change = data["changes"]["mIoU"]
    assert change["verdict"] == "worse"
    assert change["difference"]["high"] < 0
    assert change["second"] - change["first"] == pytest.approx(change["difference"]["value"])
    assert data["changes"]["never"]["first"] is None
    assert data["frames"] == data["frames_timed"] == 80
    assert not change["too_short"]
    assert len(data["worse_than_allowed"]) == 1


def test_results_are_found_by_folder_model_or_both(out, tmp_path, capsys):
    alone = save(tmp_path / "alone", "good", drive(1, 0.9, 20.0)).partition(":")[0]
    assert run(alone, out / "twin") == 0
    assert "B: " in capsys.readouterr().out
    save(tmp_path / "two", "zebra", drive(1, 0.90, 20.0))
    save(tmp_path / "two", "aardvark", drive(2, 0.80, 20.0))
    summary = {"models": {"zebra": {}, "aardvark": {}}, "partial": "Interrupted after 9 frames."}
    (tmp_path / "two" / "summary.json").write_text(json.dumps(summary))
    assert run(tmp_path / "two") == 0
    text = capsys.readouterr().out
    assert "aardvark is worse than zebra" in text  # in the order of the evaluation
    assert "A is partial: Interrupted after 9 frames." in text


def test_the_same_model_in_two_folders_is_told_apart_by_them(out, tmp_path, capsys):
    other = save(tmp_path / "new", "good", drive(5, 0.8, 20.0))
    assert run(f"{out}:good", other) == 0
    assert f"{other} is worse than {out}:good" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("second", "said"),
    [
        (drive(2, 0.9, 20.0, first=1000), "no frame in common"),
        (drive(2, 0.9, 20.0, truth_pixels=(600, 400, 0)), "different truth in 80 of 80 frames"),
        (renamed(drive(2, 0.9, 20.0)), "different classes"),
    ],
    ids=["other frames", "other truth", "other classes"],
)
def test_results_that_do_not_match_are_errors(out, capsys, second, said):
    other = save(out.parent / "other", "model", second)
    assert run(f"{out}:good", other) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["{out}"], "name the two to compare"),
        (["{out}", "{out}:good"], "name one"),
        (["{out}:nothing", "{out}:good"], "no results of 'nothing', but of good, twin, worse"),
        (["{out}/missing", "{out}:good"], "is no folder of results"),
        (["{out}:good", "{out}:twin", "--fail-if-worse", "mIoU"], "'mIoU' is no limit"),
        (["{out}:good", "{out}:twin", "--fail-if-worse", "mIoU:-1"], "is no limit"),
        (["{out}:good", "{out}:twin", "--fail-if-worse", "speed:1"], "there are mIoU, accuracy"),
    ],
)
def test_mistakes_are_explained(out, capsys, arguments, said):
    assert run(*(argument.format(out=out) for argument in arguments)) == 2
    assert said in capsys.readouterr().err


def test_without_truth_only_times_are_compared(tmp_path, capsys):
    for name, ms in (("a", 20.0), ("b", 30.0)):
        timed = drive(1, 0.9, ms)
        save(tmp_path, name, replace(timed, confusion=np.zeros_like(timed.confusion)))
    assert run(tmp_path) == 0
    text = capsys.readouterr().out
    assert "There is no truth" in text
    assert "It is slower" in text
    assert run(tmp_path, "--fail-if-worse", "mIoU:1") == 2
    assert "there are latency_median, latency_p95" in capsys.readouterr().err
