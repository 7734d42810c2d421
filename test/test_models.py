import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from erf_seg_core import ErfSegError, build_model, list_models
from erf_seg_core.models import (
    PAPER_ROWS,
    PRINTED_BUT_INCONSISTENT,
    DepthwiseModule,
    get_spec,
    paper_cost,
    parse_model_name,
    real_cost,
)
from erf_seg_core.models.blocks import NonBottleneck1d, channel_shuffle


@pytest.mark.parametrize("name", list_models())
def test_logits_have_the_images_size_and_gradients_reach_every_weight(name):
    net = build_model(name, num_classes=5).train()
    logits = net(torch.rand(2, 3, 64, 96))
    assert logits.shape == (2, 5, 64, 96)
    logits.square().mean().backward()
    without = [key for key, p in net.named_parameters() if p.grad is None]
    assert not without


@pytest.mark.parametrize("name", sorted(set(PAPER_ROWS) - PRINTED_BUT_INCONSISTENT))
def test_accounting_reproduces_the_papers_row_exactly(name):
    row, cost = PAPER_ROWS[name], paper_cost(name)
    assert cost.params == row.params
    # The paper cuts some rows to three digits and rounds others.
    assert abs(cost.macs / 1e9 - row.gflops) < 1e-3


def test_every_row_of_the_papers_tables_is_held():
    assert len(PAPER_ROWS) == 18
    assert {"erfnet": 70.45, "dg4_star_light": 63.80, "dg2s": 70.62}.items() <= {
        name: row.miou for name, row in PAPER_ROWS.items()
    }.items()


def test_row_d_of_table_5_follows_the_convention_not_the_print():
    cost = paper_cost("d")
    assert (cost.params, round(cost.macs / 1e9, 3)) == (1_312_688, 19.803)
    assert PAPER_ROWS["d"].params == 1_291_648


@pytest.mark.parametrize("groups", (2, 4, 8))
def test_shuffled_twins_cost_the_same(groups):
    for family in ("", "_star"):
        assert paper_cost(f"dg{groups}s{family}") == paper_cost(f"dg{groups}{family}")
        assert real_cost(f"dg{groups}s{family}") == real_cost(f"dg{groups}{family}")


@pytest.mark.parametrize("name", list_models())
def test_real_parameters_are_those_of_the_network(name):
    net = build_model(name)
    assert real_cost(name).params == sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize("name", ["erfnet", "dg4s", "dg4_star", "dg2_star_light", "d_encoder"])
def test_real_macs_are_those_that_torch_counts(name):
    with torch.device("meta"):
        net, image = build_model(name).eval(), torch.empty(1, 3, 64, 96)
    with FlopCounterMode(display=False) as counter:
        net(image)
    assert 2 * real_cost(name, size=(64, 96)).macs == counter.get_total_flops()


def test_counting_leaves_the_random_numbers_of_a_training_alone():
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    real_cost("dg4_star", num_classes=7)
    assert torch.equal(torch.rand(3), expected)


def test_real_macs_of_a_convolution_counted_by_hand():
    # Encoder-only difference between two class counts: one 1×1 convolution of 128 channels at 1/8.
    one, two = real_cost("d_star_encoder", 10), real_cost("d_star_encoder", 11)
    assert two.macs - one.macs == 128 * 64 * 128
    assert two.params - one.params == 129


def modules(net, kind):
    return [m for m in net.encoder.modules() if isinstance(m, kind)]


@pytest.mark.parametrize(
    "name, depthwise, factorised",
    [("erfnet", 0, 13), ("dg4", 6, 7), ("dg4_star", 13, 0), ("dg4_star_light", 13, 0)],
)
def test_family_decides_how_many_modules_are_replaced(name, depthwise, factorised):
    net = build_model(name)
    assert len(modules(net, DepthwiseModule)) == depthwise
    assert len(modules(net, NonBottleneck1d)) == factorised


def test_selective_family_replaces_the_last_modules_of_each_stage():
    layers = build_model("dg8").encoder.layers
    kinds = [type(layer).__name__[0] for layer in layers]
    assert "".join(kinds) == "D" + "NNNDD" + "D" + "NNNNDDDD"


def test_dilation_is_on_the_second_depthwise_convolution_only():
    found = [
        (m.dw1.dilation[0], m.dw2.dilation[0])
        for m in modules(build_model("d_star"), DepthwiseModule)
    ]
    assert found == [(1, d) for d in (1, 1, 1, 1, 1, 2, 4, 8, 16, 2, 4, 8, 16)]


@pytest.mark.parametrize(
    "name, shuffles",
    [
        ("dg4_star", False),
        ("dg4s_star", True),
        ("dg4_star_light", True),
        ("dg2", False),
        ("dg2s", True),
    ],
)
def test_shuffle_follows_the_name_except_in_light_models_which_always_shuffle(name, shuffles):
    assert {m.shuffle for m in modules(build_model(name), DepthwiseModule)} == {shuffles}


def test_shuffle_interleaves_the_groups():
    x = torch.arange(6.0).view(1, 6, 1, 1)
    assert channel_shuffle(x, 2).flatten().tolist() == [0, 3, 1, 4, 2, 5]


def test_module_order_is_one_relu():
    torch.manual_seed(0)
    x = torch.randn(1, 8, 6, 6)
    released = DepthwiseModule(8, groups=2, shuffle=True).eval()
    figure2 = DepthwiseModule(8, groups=2, shuffle=True, module_order="figure2").eval()
    figure2.load_state_dict(released.state_dict())
    assert not torch.equal(released(x), figure2(x))
    # Where nothing is negative before it, the ReLU changes nothing.
    for module in (released, figure2):
        torch.nn.init.constant_(module.bn2.bias, 100.0)
    assert torch.equal(released(x), figure2(x))


@pytest.mark.parametrize(
    "spelling, name",
    [
        ("ERFNet", "erfnet"),
        ("DG4*", "dg4_star"),
        (r"DG4S\*", "dg4s_star"),
        ("DG(4)S*", "dg4s_star"),
        ("DG4*-proposed", "dg4_star_light"),
        ("D*-proposed", "d_star_light"),
        ("DG2S without decoder", "dg2s_encoder"),
        ("dg8", "dg8"),
    ],
)
def test_the_papers_spelling_is_understood(spelling, name):
    assert parse_model_name(spelling) == name
    assert get_spec(spelling).name == name


def test_unknown_name_lists_the_known_ones_and_the_nearest():
    with pytest.raises(ErfSegError, match=r"did you mean 'dg4_star_light'\?.*erfnet.*dg8s_star"):
        build_model("dg4_star_ligth")


@pytest.mark.parametrize("arguments", [{"num_classes": 0}, {"module_order": "mine"}])
def test_impossible_networks_are_refused(arguments):
    with pytest.raises(ErfSegError):
        build_model("erfnet", **arguments)
