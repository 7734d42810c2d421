import numpy as np
import torch
from inference_helpers import images, logits_of, random_network

from erf_seg_core.inference.program import NEGLIGIBLE, Conv, Shuffle, Upsample, lower
from erf_seg_core.inference.torch_engine import TorchEngine

CPU = torch.device("cpu")


def weights_of(program):
    parts = [step for step in program.steps if isinstance(step, Conv | Upsample)]
    return [tensor for part in [*parts, program.head] for tensor in (part.weight, part.bias)]


def test_negligible_weights_become_zero_and_change_nothing():
    tiny = random_network("dg4_star_light", seed=3)
    with torch.no_grad():
        for index, parameter in enumerate(tiny.parameters()):
            if parameter.dim() == 4:
                parameter.view(-1)[::5] = (1e-39, -3e-41, 1e-21)[index % 3]
    plain = random_network("dg4_star_light", seed=3)
    plain.load_state_dict(tiny.state_dict())
    with torch.no_grad():
        for parameter in plain.parameters():
            if parameter.dim() == 4:
                parameter[parameter.abs() < NEGLIGIBLE] = 0.0

    for tensor in weights_of(lower(tiny)):
        assert not ((tensor != 0) & (tensor.abs() < NEGLIGIBLE)).any()
    image = images(1)
    np.testing.assert_array_equal(logits_of(tiny, image), logits_of(plain, image))
    labels = [TorchEngine(net, CPU, 1).run(image, True) for net in (tiny, plain)]
    np.testing.assert_array_equal(labels[0][0], labels[1][0])
    np.testing.assert_array_equal(labels[0][1], labels[1][1])


def test_lowering_leaves_the_network_alone():
    net = random_network("dg4s")
    before = {key: value.clone() for key, value in net.state_dict().items()}
    program = lower(net)
    for tensor in weights_of(program):
        tensor.fill_(7.0)
    for key, value in net.state_dict().items():
        assert torch.equal(value, before[key]), key


def test_values_are_freed_after_their_last_use():
    program = lower(random_network("dg4_star_light"))
    freed = set()
    for index, (step, ends) in enumerate(zip(program.steps, program.last_uses(), strict=True)):
        read = step.sources if hasattr(step, "sources") else (step.source,)
        read += (step.residual,) if getattr(step, "residual", None) is not None else ()
        assert not freed & set(read), f"step {index} reads a value that is gone"
        freed |= set(ends)
    assert freed == set(range(len(program.steps)))  # all but the last, which the head reads


def test_shuffle_order_is_that_of_the_network():
    shuffles = [s for s in lower(random_network("dg4s")).steps if isinstance(s, Shuffle)]
    assert len(shuffles) == 6
    assert shuffles[0].order[:5].tolist() == [0, 16, 32, 48, 1]
