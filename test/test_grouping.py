"""Gradual grouping on small networks and on every grouped model of the zoo."""

import copy
import io

import numpy as np
import pytest
import torch
from torch import nn

from erf_seg_core.grouping import (
    AlphaSchedule,
    FreeChannels,
    GradualGrouping,
    apply_moves,
    densify,
    make_schedule,
    mass_inside,
)
from erf_seg_core.models import build_model, get_spec, list_models

GROUPED = [name for name in list_models() if get_spec(name).groups > 1]


def bottleneck() -> nn.Sequential:
    """A ResNeXt-like chain that is not of the zoo."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(6, 8, 1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 12, 3, stride=2, padding=2, dilation=2, padding_mode="reflect"),
        nn.BatchNorm2d(12),
        nn.PReLU(12),
        nn.Conv2d(12, 12, 3, padding=1, groups=12),
        nn.Conv2d(12, 4, 1, bias=False),
    )
    randomise_norms(net)
    return net


def randomise_norms(net: nn.Module) -> None:
    """Fresh norms are all alike: a wrong channel order would not show."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.normal_(module.bias)
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2)


def image(channels=6, size=16):
    return torch.randn(2, channels, size, size, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def outputs(net, x):
    return net.eval()(x)


def to_alpha_zero(grouping):
    while grouping.alpha > 0:
        grouping.step()


def test_alpha_one_is_the_dense_network_bit_for_bit():
    net, x = bottleneck(), image()
    dense = outputs(net, x)
    grouping = GradualGrouping(net, {"3": 4}, AlphaSchedule(0, 5))
    assert grouping.alpha == 1
    assert torch.equal(outputs(net, x), dense)


def test_fold_keeps_outputs_and_every_setting_of_the_conv():
    net, x = bottleneck(), image()
    grouping = GradualGrouping(net, {"3": 4, "7": 2}, AlphaSchedule(0, 3))
    to_alpha_zero(grouping)
    at_zero = outputs(net, x)
    grouping.fold()
    assert torch.allclose(outputs(net, x), at_zero, atol=1e-5)
    conv = net[3]
    assert type(conv) is nn.Conv2d
    assert conv.weight.shape == (12, 2, 3, 3)
    assert (conv.groups, conv.stride, conv.padding, conv.dilation) == (4, (2, 2), (2, 2), (2, 2))
    assert conv.padding_mode == "reflect"
    assert net[7].bias is None and net[7].groups == 2
    assert not any("parametrizations" in key for key in net.state_dict())


def test_gradients_of_cross_group_weights_scale_with_alpha():
    net, x = nn.Conv2d(4, 4, 1), image(4)
    net(x).square().sum().backward()
    reference = nn.Conv2d(4, 4, 1)
    reference.load_state_dict(net.state_dict())
    grouping = GradualGrouping(nn.Sequential(reference), {"0": 2}, lambda t: 0.25)
    within = torch.block_diag(torch.ones(2, 2), torch.ones(2, 2)).bool()[..., None, None]
    weight = reference.parametrizations.weight.original
    faded = weight.detach() * torch.where(within, 1.0, 0.25)
    expected = torch.autograd.functional.jacobian(
        lambda w: nn.functional.conv2d(x, w, reference.bias).square().sum(), faded
    )
    reference(x).square().sum().backward()
    assert grouping.alpha == 0.25
    assert torch.allclose(weight.grad, expected * torch.where(within, 1.0, 0.25), rtol=1e-4)


def test_folding_early_is_refused():
    net = bottleneck()
    grouping = GradualGrouping(net, {"3": 4}, AlphaSchedule(0, 3))
    grouping.step()
    with pytest.raises(ValueError, match=r"α is 0\.666"):
        grouping.fold()


def test_state_survives_save_and_load_in_mid_schedule():
    net = bottleneck()
    grouping = GradualGrouping(net, {"3": 4}, AlphaSchedule(2, 8))
    for _ in range(5):
        grouping.step()
    file = io.BytesIO()
    torch.save(net.state_dict(), file)
    file.seek(0)

    resumed = bottleneck()
    second = GradualGrouping(resumed, {"3": 4}, AlphaSchedule(2, 8))
    resumed.load_state_dict(torch.load(file, weights_only=True))
    assert (second.steps, second.alpha) == (5, grouping.alpha)
    assert torch.equal(outputs(resumed, image()), outputs(net, image()))
    assert (grouping.step(), second.step()) == ([], [])
    assert second.alpha == grouping.alpha == 0.5


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        ({"3": 5}, "'3' has 8 input and 12 output channels"),
        ({"6": 2}, "'6' has 12 groups already"),
        ({"1": 2}, "'1' is a BatchNorm2d"),
        ({"9": 2}, "'9' is missing"),
        (lambda name, conv: 1, "no convolution was chosen"),
        (lambda name, conv: None, "'0' is to have None groups"),
        ({"3": 4.0}, "'3' is to have 4.0 groups, which is no whole number"),
        (["3"], "targets are groups by module name"),
    ],
)
def test_unfit_targets_are_refused_by_name(targets, message):
    with pytest.raises(ValueError, match=message):
        GradualGrouping(bottleneck(), targets, AlphaSchedule(0, 3))


def test_targets_may_be_a_function():
    net = bottleneck()
    grouping = GradualGrouping(
        net,
        lambda name, conv: np.int64(2) if conv.kernel_size == (1, 1) else 1,
        AlphaSchedule(0, 3),
    )
    assert grouping.groups == {"0": 2, "7": 2}


def test_amp_trains_and_keeps_the_parameters_float32():
    net = bottleneck()
    grouping = GradualGrouping(net, {"3": 4}, lambda t: 0.5)
    with torch.autocast("cpu", torch.bfloat16):
        out = net(image())
    out.float().sum().backward()
    weight = net[3].parametrizations.weight.original
    assert out.dtype == torch.bfloat16
    assert weight.dtype == weight.grad.dtype == torch.float32
    assert grouping.alpha == 0.5


def test_compiled_network_follows_alpha_without_recompiling():
    net, x = bottleneck(), image()
    grouping = GradualGrouping(net, {"3": 4}, AlphaSchedule(0, 4))
    compilations = []

    def count(graph, inputs):
        compilations.append(graph)
        return graph.forward

    compiled = torch.compile(net.eval(), backend=count)
    with torch.no_grad():
        for _ in range(5):
            assert torch.allclose(compiled(x), net(x), atol=1e-6)
            grouping.step()
    assert grouping.alpha == 0
    assert len(compilations) == 1


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (make_schedule("linear", 100, hold=0.5), {0: 1, 25: 0.5, 50: 0, 100: 0}),
        (make_schedule("power", 100, hold=0.5, power=3), {0: 1, 25: 0.125, 50: 0, 99: 0}),
        (make_schedule("constant_linear", 100, hold=0.4, wait=0.2), {0: 1, 20: 1, 40: 0.5, 60: 0}),
    ],
)
def test_schedules_reach_their_stated_values(schedule, expected):
    assert {t: schedule(t) for t in expected} == pytest.approx(expected)


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "sine"},
        {"hold": 1.0},
        {"power": 0, "name": "power"},
        {"power": 2},
        {"wait": 0.5},
        {"wait": 0.2, "name": "power"},
    ],
)
def test_impossible_schedules_are_refused(wrong):
    with pytest.raises(ValueError):
        make_schedule(**{"name": "linear", "total_steps": 10, **wrong})


FREE = (
    FreeChannels("0", "3", before=("1",)),
    FreeChannels("3", "7", before=("4", "5", "6")),
)


def test_magnitude_permutation_keeps_outputs_and_finds_hidden_blocks():
    net, x = bottleneck(), image()
    # Heavy blocks, then scattered: rows and columns of conv 3 in an order nobody chose.
    with torch.no_grad():
        heavy = torch.block_diag(*[torch.ones(3, 2)] * 4)[..., None, None] + 0.01
        rows = torch.randperm(12, generator=torch.Generator().manual_seed(3))
        columns = torch.randperm(8, generator=torch.Generator().manual_seed(4))
        net[3].weight.copy_(net[3].weight.sign() * heavy[rows][:, columns])
    before = outputs(net, x)
    scattered = mass_inside(net[3].weight, 4)
    grouping = GradualGrouping(net, {"3": 4}, AlphaSchedule(1, 4), "magnitude", FREE)
    assert grouping.step() == []  # still waiting at α = 1
    grouping._set_alpha(1.0)
    moves = grouping.step()
    assert moves
    grouping._set_alpha(1.0)  # compare the reordered dense network with the original one
    assert torch.allclose(outputs(net, x), before, atol=1e-5)
    found = mass_inside(net[3].parametrizations.weight.original, 4)
    assert scattered < 0.6
    assert found > 0.9
    grouping._set_alpha(0.0)
    at_zero = outputs(net, x)
    assert torch.allclose(outputs(grouping.fold(), x), at_zero, atol=1e-5)


def test_optimizer_moments_follow_the_channels():
    """Train, permute, train: the same as training without permuting, when α stays 1."""
    results = []
    for permute in (None, "magnitude"):
        net = bottleneck().train()
        grouping = GradualGrouping(net, {"3": 4}, lambda t: 1 - 1e-7 * t, permute, FREE)
        optimizer = torch.optim.Adam(
            net.parameters(), 1e-2, eps=1e-3
        )  # biases before a norm are noise
        moves = []
        for _ in range(4):
            optimizer.zero_grad()
            net(image()).square().mean().backward()
            optimizer.step()
            moves += grouping.step(optimizer)
        assert bool(moves) == bool(permute)
        results.append(outputs(net, image()))
    assert torch.allclose(*results, atol=1e-4)


def test_a_module_with_two_names_is_reordered_under_either():
    net = nn.Module()
    chain = bottleneck()
    net.norm, net.body = chain[1], chain
    place = FreeChannels("body.0", "body.3", before=("body.1",))
    grouping = GradualGrouping(net, {"body.3": 4}, AlphaSchedule(0, 4), "magnitude", [place])
    before = outputs(net.body, image())
    assert grouping.step()
    grouping._set_alpha(1.0)
    assert torch.allclose(outputs(net.body, image()), before, atol=1e-5)


@pytest.mark.parametrize(
    ("place", "message"),
    [
        (FreeChannels("0", "7"), "'0' gives 8 channels but '7' takes 12"),
        (FreeChannels("0", "3", before=("4",)), "'4' is not a channel-wise layer of 8"),
        (FreeChannels("6", "7"), "'6' is no dense Conv2d"),
        (FreeChannels("0", "3", shuffle=3), "do not divide by 3"),
        (FreeChannels("0", "3", before=("9",)), "'9' is missing"),
        (FreeChannels("0", "absent"), "'absent' is missing"),
    ],
)
def test_wrong_places_for_permutation_are_refused_by_name(place, message):
    net = bottleneck()
    with pytest.raises(ValueError, match=message):
        GradualGrouping(net, {"3": 4}, AlphaSchedule(0, 3), "magnitude", [place])
    right = [FreeChannels("0", "3", before=("1",))]
    GradualGrouping(net, {"3": 4}, AlphaSchedule(0, 3), "magnitude", right)  # nothing was attached


@pytest.mark.parametrize("end", ["0", "3"])
@pytest.mark.parametrize(
    "disguise",
    [nn.utils.weight_norm, nn.utils.parametrizations.weight_norm,
     nn.utils.parametrizations.spectral_norm],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:.*weight_norm.*is deprecated:FutureWarning")
def test_channels_of_a_weight_that_is_computed_are_not_reordered(disguise, end):
    net = bottleneck()
    disguise(net[int(end)])
    place = FreeChannels("0", "3", before=("1",))
    with pytest.raises(ValueError, match=f"'{end}' computes its weight from others"):
        GradualGrouping(net, {"7": 4}, AlphaSchedule(0, 3), "magnitude", [place])


def test_a_layer_belongs_to_one_place():
    net = nn.ModuleDict({name: nn.Conv2d(8, 8, 1) for name in "abc"})
    with pytest.raises(ValueError, match="'a' gives the channels of two places"):
        GradualGrouping(
            net, {"b": 4}, AlphaSchedule(0, 3), "magnitude",
            [FreeChannels("a", "b"), FreeChannels("a", "c")],
        )  # fmt: skip
    net["b"] = net["a"]
    with pytest.raises(ValueError, match="'a' and 'b' are the same module"):
        GradualGrouping(net, {"c": 4}, AlphaSchedule(0, 3), None, [FreeChannels("a", "b")])


def test_weights_that_others_hold_are_refused_and_shared_modules_fade_together():
    tied = nn.Sequential(nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1))
    tied[1].weight = tied[0].weight
    with pytest.raises(ValueError, match="'0' shares its weight with another layer"):
        GradualGrouping(tied, {"0": 4}, AlphaSchedule(0, 3))

    conv, x = nn.Conv2d(8, 8, 1), image(8)
    twice = nn.Sequential(conv, nn.ReLU(), conv)
    with pytest.raises(ValueError, match="'2' is the same module as '0'"):
        GradualGrouping(twice, {"0": 4, "2": 4}, AlphaSchedule(0, 3))
    grouping = GradualGrouping(twice, {"2": 4}, AlphaSchedule(0, 3))
    to_alpha_zero(grouping)
    before = outputs(twice, x)
    assert torch.allclose(outputs(grouping.fold(), x), before, atol=1e-6)
    assert densify(twice, keep_function=True) == {"0": 4}
    assert twice[0] is twice[2]
    assert torch.allclose(outputs(twice, x), before, atol=1e-6)


def test_a_failed_attachment_leaves_nothing_behind():
    net = bottleneck()
    nn.utils.parametrizations.weight_norm(net[3])
    with pytest.raises(ValueError, match="'3' already carries a parametrization"):
        GradualGrouping(net, {"0": 2, "3": 4}, AlphaSchedule(0, 3))
    GradualGrouping(net, {"0": 2}, AlphaSchedule(0, 3))


def test_schedules_that_make_no_sense_are_refused():
    net = bottleneck()
    with pytest.raises(ValueError, match="α = 2"):
        GradualGrouping(net, {"3": 4}, lambda step: 2.0)
    GradualGrouping(net, {"3": 4}, AlphaSchedule(0, 3))  # nothing was attached
    with pytest.raises(ValueError, match=r"begins at 1, not 0\.5"):
        GradualGrouping(bottleneck(), {"3": 4}, lambda step: 0.5, "magnitude", FREE)


def test_sixteen_bit_weights_are_reordered_once():
    net = bottleneck().to(torch.bfloat16)
    grouping = GradualGrouping(net, {"3": 4}, AlphaSchedule(1, 10_000), "magnitude", FREE)
    moved = [bool(grouping.step()) for _ in range(5)]
    assert moved == [False, True, False, False, False]


def test_moves_of_another_model_are_refused():
    net = bottleneck()
    average = torch.optim.swa_utils.AveragedModel(net)
    grouping = GradualGrouping(net, {"3": 4}, AlphaSchedule(0, 3), "magnitude", FREE)
    moves = grouping.step()
    with pytest.raises(ValueError, match=r"give its `\.module`'s tensors"):
        apply_moves(dict(average.named_parameters()), moves)


def test_densify_needs_something_that_holds_the_conv_and_keeps_what_is_frozen():
    with pytest.raises(ValueError, match="put it into a module first"):
        densify(nn.Conv2d(8, 8, 1, groups=4))
    net = nn.Sequential(nn.Conv2d(8, 8, 1, groups=4).requires_grad_(False))
    densify(net)
    assert not net[0].weight.requires_grad
    assert not net[0].bias.requires_grad


@pytest.mark.parametrize(
    ("between", "fits"),
    [
        (nn.GroupNorm(4, 16), False),
        (nn.GroupNorm(1, 16), True),
        (nn.InstanceNorm2d(16, affine=True), True),
        (nn.LayerNorm([16, 8, 8]), False),
        (nn.Conv2d(16, 16, 3, groups=4), False),
        (nn.PReLU(16), True),
        (nn.PReLU(), True),
    ],
)
def test_only_layers_that_treat_channels_alike_may_lie_between(between, fits):
    net = nn.Sequential(nn.Conv2d(4, 16, 1), between, nn.Conv2d(16, 8, 1))
    place = FreeChannels("0", "2", before=("1",))
    if fits:
        GradualGrouping(net, {"2": 4}, AlphaSchedule(0, 3), "magnitude", [place])
    else:
        with pytest.raises(ValueError, match="'1' is not a channel-wise layer of 16 channels"):
            GradualGrouping(net, {"2": 4}, AlphaSchedule(0, 3), "magnitude", [place])


def test_no_schedule_ends_above_zero():
    for steps in range(1, 40):
        for wait in (0.0, 0.3, 0.9, 0.94):
            assert make_schedule("constant_linear", steps, hold=0.05, wait=wait)(steps) == 0


@pytest.mark.parametrize("name", GROUPED)
def test_every_grouped_model_of_the_zoo(name):
    torch.manual_seed(0)
    grouped = build_model(name, num_classes=5)
    names_and_shapes = {k: v.shape for k, v in grouped.state_dict().items()}
    net = copy.deepcopy(grouped)
    targets = densify(net)
    randomise_norms(net)
    assert set(targets.values()) == {get_spec(name).groups}
    x = torch.rand(1, 3, 16, 24)
    dense = outputs(net, x)
    grouping = GradualGrouping(net, targets, AlphaSchedule(0, 2))
    assert torch.equal(outputs(net, x), dense)
    to_alpha_zero(grouping)
    at_zero = outputs(net, x)
    grouping.fold()
    assert torch.allclose(outputs(net, x), at_zero, atol=1e-5)
    state = net.state_dict()
    assert {k: v.shape for k, v in state.items()} == names_and_shapes
    grouped.load_state_dict(state)
    assert torch.allclose(outputs(grouped, x), at_zero, atol=1e-5)


def test_densify_can_keep_the_function():
    torch.manual_seed(0)
    net = build_model("dg4s_star", num_classes=5)
    randomise_norms(net)
    x = torch.rand(1, 3, 16, 24)
    before = outputs(net, x)
    densify(net, keep_function=True)
    assert torch.allclose(outputs(net, x), before, atol=1e-4)
    assert all(m.groups in (1, m.in_channels) for m in net.modules() if isinstance(m, nn.Conv2d))
