"""The benchmark: its statistics, its rounds, its rows, and the command."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from inference_helpers import logits_of

from erf_seg_cli.main import main
from erf_seg_core.benchmark import Baseline, Benchmark, Row, Settings, combinations, run_benchmark
from erf_seg_core.benchmark.accuracy import AccuracyTable
from erf_seg_core.benchmark.contenders import common_outputs, create_contender, load_subject
from erf_seg_core.benchmark.memory import measure_memory
from erf_seg_core.benchmark.ratios import Ratio, judge, read_ratios, refuse_unmeasurable
from erf_seg_core.benchmark.rounds import Durations, measure_rounds
from erf_seg_core.benchmark.run import street_images
from erf_seg_core.benchmark.statistics import median_with_interval, speedup
from erf_seg_core.checkpoint import find_checkpoint, read_info
from erf_seg_core.errors import ErfSegError

SIZE = (64, 128)
ROOT = Path(__file__).resolve().parent.parent


def configurations(
    models="dg4_star_light", engines="onnxruntime", precisions="fp32", sizes=(SIZE,), **more
):
    words = (names.split(",") for names in (models, engines, precisions))
    return combinations(*words, sizes, ["cpu"], [1], **more)


def run_of(rows, baseline=None, **settings):
    benchmark = Benchmark(Settings(SIZE, rounds=2, outputs=11, memory=False, **settings), baseline)
    run_benchmark(benchmark, rows)
    return benchmark


# --- statistics


@pytest.mark.parametrize(
    ("n", "low", "high"),  # ranks of the interval, from tables of the sign test's inversion
    [(1, 1, 1), (5, 1, 5), (6, 1, 6), (9, 2, 8), (20, 6, 15), (50, 18, 33), (100, 40, 61)],
)
def test_interval_of_the_median_lies_between_the_tabled_ranks(n, low, high):
    values = np.random.default_rng(n).permutation(np.arange(1, n + 1))
    estimate = median_with_interval(values)
    assert (estimate.low, estimate.high) == (low, high)
    assert estimate.value == np.median(values)


def test_what_slows_both_for_a_while_leaves_the_speedup_alone():
    slowness = np.array([1.0, 1.0, 7.0, 3.0, 1.0, 2.0, 9.0])
    estimate = speedup(30.0 * slowness, 10.0 * slowness)
    assert estimate.low == pytest.approx(3.0)
    assert estimate.high == pytest.approx(3.0)


# --- rounds


def test_each_round_gives_each_call_two_turns_in_an_order_of_its_own():
    seen, times = [], {}
    calls = {name: (lambda name=name: seen.append(name)) for name in "abcd"}
    measure_rounds(calls, 12, seed=1, times=times)
    rounds = [seen[i : i + 8] for i in range(0, len(seen), 8)]
    assert all(
        first == second for r in rounds for first, second in zip(r[::2], r[1::2], strict=True)
    )
    assert all(sorted(r[::2]) == list("abcd") for r in rounds)
    assert len({tuple(r) for r in rounds}) > 6
    assert all(len(t.ms) == len(t.cpu_ms) == 12 and min(t.ms) >= 0 for t in times.values())


def test_rounds_that_are_cut_short_are_not_counted():
    count, times = [0], {}

    def stops_at_the_seventh_call():
        count[0] += 1
        if count[0] == 7:
            raise KeyboardInterrupt

    calls = {"a": stops_at_the_seventh_call, "b": lambda: None}
    with pytest.raises(KeyboardInterrupt):
        measure_rounds(calls, 10, seed=0, times=times)
    assert [len(t.ms) for t in times.values()] == [3, 3]


def test_a_call_that_fails_leaves_the_others_their_rounds():
    count, times, failed = [0], {}, []

    def fails_at_the_seventh_call():
        count[0] += 1
        if count[0] == 7:
            raise RuntimeError("the engine broke")

    calls = {"a": fails_at_the_seventh_call, "b": lambda: None}
    measure_rounds(
        calls, 10, 0, times, on_failure=lambda key, error: failed.append((key, str(error)))
    )
    assert failed == [("a", "the engine broke")]
    assert {key: len(t.ms) for key, t in times.items()} == {"b": 10}
    with pytest.raises(RuntimeError, match="the engine broke"):
        count[0] = 6
        measure_rounds(calls, 10, 0, times)


# --- rows


def test_combinations_add_the_baseline_and_each_row_once():
    rows = configurations(
        "dg4,erfnet", "eager,onnxruntime", "fp32,int8", baseline=Baseline("erfnet", "eager")
    )
    assert len(rows) == len(set(rows)) == 6
    assert [r.precision for r in rows if r.engine == "eager"] == ["fp32", "fp32"]
    rows = configurations("dg4", "torch", batches=[1, 4], baseline=Baseline("erfnet", "eager"))
    assert [(r.model, r.engine, r.batch) for r in rows] == [
        ("erfnet", "eager", 1),
        ("dg4", "torch", 1),
        ("dg4", "torch", 4),
    ]


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        ({"models": "dg5"}, "did you mean"),
        ({"models": "no/such.safetensors"}, "no checkpoint file"),
        ({"engines": "onyx"}, "no engine 'onyx'"),
        ({"precisions": "int4"}, "no precision 'int4'"),
        ({"batches": [0]}, "batch is 0"),
        ({"sizes": [(60, 128)]}, "60×128 .* must be multiples of 8"),
    ],
)
def test_mistakes_are_named_before_anything_runs(mistake, message):
    with pytest.raises(ErfSegError, match=message):
        configurations(**mistake)
    with pytest.raises(ErfSegError, match="MODEL:ENGINE"):
        Baseline.parse("erfnet")


@pytest.mark.parametrize("engine", ["eager", "upstream", "torch", "onnxruntime"])
def test_every_contender_gives_the_networks_labels(engine):
    (row,) = configurations("dg4_star_light", engine, batches=[2])
    subject = load_subject(row.model, 11, SIZE)
    images = street_images(SIZE)[:2]
    contender = create_contender(row, subject)
    labels = np.stack(contender(images))
    contender.close()
    expected = logits_of(load_subject(row.model, 11, SIZE).net, np.stack(images)).argmax(-1)
    assert labels.dtype == np.uint8
    assert (labels == expected).mean() > 0.999
    assert len(np.unique(labels)) > 2


def test_all_rows_have_the_number_of_outputs_of_the_trained_model():
    assert common_outputs(["erfnet", "dg4"]) == 11
    assert common_outputs(["dg8", "d"]) == 20
    assert load_subject("d", 11, SIZE).weights == "random"
    assert load_subject("dg4", 11, SIZE).weights == "trained"
    other = load_subject("dg4", 19, SIZE)
    assert (other.weights, other.net.num_classes) == ("random", 19)


def test_a_row_that_cannot_run_says_why_and_stops_no_other():
    threads = torch.get_num_threads()
    benchmark = run_of(
        configurations(engines="tensorrt,onnxruntime,eager"), Baseline("dg4_star_light", "eager")
    )
    (failed,) = benchmark.failed()
    assert failed.configuration.engine == "tensorrt"
    assert "tensorrt" in failed.failure.lower()
    assert [row.configuration.engine for row in benchmark.measured()] == ["onnxruntime", "eager"]
    assert all(len(row.durations.ms) == 2 for row in benchmark.measured())
    eager = benchmark.measured()[1]
    assert benchmark.speedup(eager).value == 1.0
    assert benchmark.speedup(benchmark.measured()[0]).value > 0
    assert (eager.device, eager.precision) == ("cpu", "fp32")
    assert eager.accuracy is None  # the checkpoint's is of another size
    assert any("tells that of fp32 at 480×360 only" in remark for remark in benchmark.remarks)
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("precision", ["fp32", "auto"])
def test_the_checkpoint_s_miou_is_told_at_its_size(precision):
    told = read_info(find_checkpoint("dg4_star_light")).metrics["camvid val"]["miou"]
    (row,) = configurations(precisions=precision, sizes=[(360, 480)])
    assert AccuracyTable(None, 11, lambda: None).of(row, "fp32").miou == pytest.approx(told)
    with pytest.raises(ErfSegError, match="--data measures that of int8"):
        AccuracyTable(None, 11, lambda: None).of(row, "int8")


def test_checkpoints_of_one_file_name_are_told_apart(tmp_path):
    paths = [str(tmp_path / run / "dg4.safetensors") for run in "ab"]
    for path in map(Path, paths):
        path.parent.mkdir()
        path.write_bytes(find_checkpoint("dg4").read_bytes())
    rows = configurations(",".join(paths))
    assert [row.name for row in rows] == [path.removesuffix(".safetensors") for path in paths]


def test_memory_is_that_of_one_configuration_alone():
    small, large = (
        measure_memory(replace(configurations(engines="eager")[0], input_size=size), SIZE, 11)
        for size in (SIZE, (512, 1024))
    )
    # 11 logits of 512×1024 pixels alone are 22 MiB.
    assert large.engine_mib > small.engine_mib + 22
    assert large.process_mib > large.engine_mib
    assert small.gpu_mib is None


# --- ratios


def measured(model, engine, ms):
    (row,) = configurations(model, engine)
    return row, Row(row, Durations(list(ms), list(ms)))


def test_ratios_are_judged_by_the_fastest_row_that_fits():
    benchmark = Benchmark(Settings(SIZE, 3, 11), None)
    benchmark.rows = dict(
        [
            measured("dg4", "onnxruntime", [10, 11, 12]),
            measured("dg4", "eager", [40, 40, 40]),
            measured("erfnet", "eager", [100, 100, 100]),
        ]
    )
    good, bad = judge(
        benchmark, [Ratio("dg4", "erfnet:eager", 9.0), Ratio("dg4:eager", "erfnet", 3.0)]
    )
    assert good.holds and good.faster.configuration.engine == "onnxruntime"
    assert not bad.holds
    assert str(bad).startswith("FAIL dg4:eager is 2.50 times as fast as erfnet:eager")
    with pytest.raises(ErfSegError, match="no row 'dg8'"):
        judge(benchmark, [Ratio("dg8", "erfnet", 1.0)])
    for name in ("dg8", "dg4:torch", "dg4:fastest"):
        with pytest.raises(ErfSegError, match=f"is about '{name}'"):
            refuse_unmeasurable([Ratio("dg4", name, 1.0)], list(benchmark.rows))
    refuse_unmeasurable([Ratio("dg4", "erfnet:eager", 1.0)], list(benchmark.rows))


def test_ratio_files_are_checked(tmp_path):
    file = tmp_path / "ratios.yaml"
    file.write_text("- {faster: dg4, than: 'erfnet:eager', at_least: 3}\n")
    assert read_ratios(file) == [Ratio("dg4", "erfnet:eager", 3.0)]
    file.write_text("- {faster: dg4}\n")
    with pytest.raises(ErfSegError, match="at_least"):
        read_ratios(file)
    with pytest.raises(ErfSegError, match="cannot read"):
        read_ratios(tmp_path / "none.yaml")


def test_the_ratios_that_make_bench_asks_for_can_be_read():
    assert {ratio.faster for ratio in read_ratios(ROOT / "test" / "speed_ratios.yaml")} == {
        "dg4_star_light",
        "dg4",
    }


# --- the command

QUICK = [
    *("--models", "dg4_star_light", "--baseline", "erfnet:eager", "--sizes", "64x128"),
    *("--image-size", "96x160", "--threads", "1", "--rounds", "2", "--no-memory"),
]


def test_bench_prints_one_document_and_writes_table_and_plot(tmp_path, capsys):
    sizes = ["--sizes", "360x480"]  # that of the checkpoint's mIoU
    arguments = [*QUICK, *sizes, "--engines", "onnxruntime,eager", "--output", str(tmp_path)]
    assert main(["bench", *arguments, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document == json.loads((tmp_path / "bench.json").read_text())
    assert "processor" in document["machine"] and "cores_used_by_others" in document
    assert document["settings"]["outputs"] == 11
    by_engine = {(row["model"], row["engine"]): row for row in document["rows"]}
    row = by_engine["dg4_star_light", "onnxruntime"]
    assert len(row["ms"]) == 2 and row["weights"] == "trained"
    assert (row["device"], row["precision"]) == ("cpu", "fp32")
    assert row["median_ms_per_image"] == pytest.approx(np.median(row["ms"]), abs=1e-3)
    assert row["p95_ms_per_image"] <= row["p99_ms_per_image"] <= max(row["ms"])
    faster = row["times_faster_than_baseline"]
    assert faster["low"] <= faster["value"] <= faster["high"]
    assert by_engine["erfnet", "eager"]["weights"] == "trained"
    lines = (tmp_path / "bench.md").read_text().splitlines()
    assert sum(line.startswith("| dg4_star_light") for line in lines) == 2
    assert (tmp_path / "latency_miou.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        (["--rounds", "0"], "--rounds: 0 is"),
        (["--rounds", "0", "--roofline"], "--rounds: 0 is"),
        (["--outputs", "0"], "--outputs: 0 is"),
        (["--models", ","], "--models: an empty list"),
        (["--sizes", "", "--roofline"], "--sizes: an empty list"),
        (["--sizes", "0x0", "--roofline"], "0×0"),
        (["--threads", "0", "--roofline"], "threads is 0"),
        (["--threads", "1,2", "--roofline"], "one of --threads at a time"),
        (["--require", "{file}", "--roofline"], "neither --require nor --data"),
        (["--require", "{ratios}"], "about 'dg8', which is not among"),
        (["--seed", "-1"], "--seed is -1"),
        (["--data", "nowhere"], "nowhere has no folders"),
        (["--output", "{file}"], "is a file"),
        (["--output", "{file}/below"], "is a file"),
    ],
)
def test_mistakes_cost_no_measuring(tmp_path, capsys, mistake, message):
    file, ratios = tmp_path / "file", tmp_path / "ratios.yaml"
    file.touch()
    ratios.write_text("- {faster: dg8, than: erfnet, at_least: 1}\n")
    mistake = [word.format(file=file, ratios=ratios) for word in mistake]
    try:
        status = main(["bench", *QUICK, "--engines", "onnxruntime", *mistake])
    except SystemExit as leaving:  # argparse's
        status = leaving.code
    error = capsys.readouterr().err
    assert (status, message in error, "steps" in error) == (2, True, False)


def test_a_run_without_any_row_is_a_failure(capsys):
    arguments = [*QUICK, "--baseline", "none", "--engines", "onnxruntime", "--devices", "nope"]
    assert main(["bench", *arguments]) == 2
    assert "no row can run here: no device 'nope'" in capsys.readouterr().err


def test_results_that_cannot_be_written_are_printed(tmp_path, capsys):
    (tmp_path / "bench.json").mkdir()
    arguments = [*QUICK, "--baseline", "none", "--engines", "onnxruntime"]
    assert main(["bench", *arguments, "--output", str(tmp_path)]) == 2
    printed = capsys.readouterr()
    assert "cannot write" in printed.err
    assert any(line.startswith("dg4_star_light") for line in printed.out.splitlines())


def test_bench_fails_by_a_ratio_that_is_not_reached(tmp_path, capsys):
    file = tmp_path / "ratios.yaml"
    file.write_text("- {faster: erfnet, than: dg4_star_light, at_least: 1000}\n")
    assert main(["bench", *QUICK, "--engines", "onnxruntime", "--require", str(file)]) == 1
    assert "FAIL erfnet:eager is 0." in capsys.readouterr().out


def test_bench_measures_miou_on_data(data_dir, capsys):
    arguments = [*QUICK, "--engines", "onnxruntime", "--baseline", "none", "--json"]
    data = ["--data", str(data_dir / "camvid"), "--only", "0016E5_07959", "0016E5_07961"]
    assert main(["bench", *arguments, *data]) == 0
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    assert "camvid val, 2 images, at 128×64" in row["accuracy"]["on"]
    assert 0.02 < row["accuracy"]["miou"] < 0.6


def test_ctrl_c_prints_what_was_measured():
    arguments = [*QUICK, "--rounds", "100000", "--engines", "onnxruntime"]
    bench = subprocess.Popen(
        [sys.executable, "-m", "erf_seg_cli.main", "bench", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        for line in bench.stderr:  # the progress bar, once there are rounds
            if "rounds" in line:
                break
        bench.send_signal(signal.SIGINT)
        out, _ = bench.communicate(timeout=120)
    finally:
        bench.kill()
    assert bench.returncode == 130
    assert "interrupted; what was measured so far" in out
    assert any(line.startswith("dg4_star_light") for line in out.splitlines())
