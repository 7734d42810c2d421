"""The roofline: the work of each stage, the machine's peak, and the time by stage."""

import json

import pytest
import torch
import torch.nn.functional as F

from erf_seg_cli.main import main
from erf_seg_core.benchmark.contenders import load_subject
from erf_seg_core.benchmark.roofline import Peaks, StageTime, measure_peaks, measure_stages
from erf_seg_core.benchmark.stages import Work, stage_names, work_by_stage
from erf_seg_core.inference.program import Conv, lower
from erf_seg_core.models import real_cost

SIZE = (64, 128)
STAGES = ["stem", "64-channel modules", "downsampler 64→128", "128-channel modules"]
DECODER = ["decoder stage 1", "decoder stage 2"]


@pytest.mark.parametrize("model", ["dg4_star_light", "dg4", "erfnet"])
def test_the_stages_work_adds_up_to_the_networks(model):
    works = work_by_stage(lower(load_subject(model, 20, SIZE).net), SIZE)
    assert list(works) == [*STAGES, *DECODER, "head"]
    # Of a large image little falls on padding. The lowered stem makes 16 channels where 13 would
    # do, and pooled channels are scaled.
    large = (2048, 4096)
    whole = 2 * real_cost(model, 20, large).macs
    flops = work_by_stage(lower(load_subject(model, 20, SIZE).net), large)
    assert 0.98 * whole < sum(work.flops for work in flops.values()) < 1.06 * whole
    pixels = SIZE[0] * SIZE[1]
    assert works["head"].flops == 2 * 16 * 20 * pixels
    assert works["head"].bytes == 4 * (16 * pixels / 4 + 16 * 20 * 4) + pixels


def test_taps_on_padding_are_no_work():
    program = lower(load_subject("dg4_star_light", 20, SIZE).net)
    expected = 0.0
    for step, name in zip(program.steps, stage_names(program), strict=True):
        if name == "128-channel modules" and isinstance(step, Conv):
            pixels = torch.ones(1, 1, SIZE[0] // 8, SIZE[1] // 8)
            kernel = torch.ones(1, 1, *step.weight.shape[2:])
            taps = F.conv2d(pixels, kernel, None, step.stride, step.padding, step.dilation).sum()
            expected += 2 * step.weight.shape[0] * step.weight.shape[1] * float(taps)
    works = work_by_stage(program, SIZE)
    assert works["128-channel modules"].flops == pytest.approx(expected)
    assert len({d for s in program.steps if isinstance(s, Conv) for d in s.dilation}) > 3


def test_the_limit_is_the_longer_of_arithmetic_and_memory():
    peaks = Peaks(flops_per_s=1e9, bytes_per_s=1e8)
    assert StageTime("a", Work(2e6, 1e5), 9.0, 5.0).limit_ms(peaks) == pytest.approx(2.0)
    assert StageTime("b", Work(2e6, 1e6), 9.0, 5.0).limit_ms(peaks) == pytest.approx(10.0)


@pytest.mark.parametrize("model", ["dg4_star_light", "dg4", "dg4_star_light_encoder"])
def test_every_stage_gets_its_time(model):
    times = measure_stages(
        load_subject(model, 11, SIZE), SIZE, threads=1, runs=15
    )  # some are interrupted
    decoder = [] if model.endswith("encoder") else DECODER
    assert [time.name for time in times] == [*STAGES, *decoder, "head"]
    assert all(time.ms > 0 and 0 <= time.computing_ms <= time.ms for time in times)
    modules = next(time for time in times if time.name == "128-channel modules")
    assert modules.computing_ms > 0.3 * modules.ms


def test_peaks_are_those_of_a_computer():
    peaks = measure_peaks(threads=1)
    assert 1e8 < peaks.flops_per_s < 1e14
    assert 1e7 < peaks.bytes_per_s < 1e13


def test_the_command_prints_table_or_document(capsys):
    arguments = ["bench", "--roofline", "--models", "dg4_star_light", "--sizes", "64x128"]
    arguments += ["--threads", "1", "--rounds", "2"]
    assert main([*arguments, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    stages = document["models"]["dg4_star_light"]
    assert [stage["stage"] for stage in stages] == [*STAGES, *DECODER, "head"]
    assert document["peak_gflop_per_s"] > 0
    assert main(arguments) == 0
    assert "share of the limit" in capsys.readouterr().out
