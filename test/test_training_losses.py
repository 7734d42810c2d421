"""Losses against their definitions."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from erf_seg_core.training.losses import (
    WEIGHT_OFFSETS,
    LabelLoss,
    class_weights,
    distillation_loss,
)


def batch(classes=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, classes, 6, 7, generator=generator)
    targets = torch.randint(0, classes, (2, 6, 7), generator=generator).to(torch.uint8)
    targets[0, :2] = 255
    return logits, targets


def test_equals_weighted_cross_entropy_of_torch():
    logits, targets = batch()
    weights = torch.tensor([1.0, 2.0, 0.5, 3.0, 1.5])
    expected = F.cross_entropy(logits, targets.long(), weights, ignore_index=255)
    assert LabelLoss(5, weights=weights)(logits, targets) == pytest.approx(float(expected))


def test_void_outputs_compete_but_are_no_class():
    logits, targets = batch(6)
    targets[targets == 5] = 0
    expected = F.cross_entropy(logits, targets.long(), ignore_index=255)
    assert LabelLoss(5)(logits, targets) == pytest.approx(float(expected))


def test_union_labels_cost_minus_log_of_the_summed_probability():
    logits, targets = batch()
    targets[1] = 5 + 1  # the second image is labelled with union {1, 4} throughout
    p = logits.softmax(1)
    union = -(p[1, 1] + p[1, 4]).log()
    known = targets[0] != 255
    single = F.cross_entropy(logits[:1], targets[:1].long(), ignore_index=255, reduction="none")
    expected = torch.cat([single[0][known], union.flatten()]).mean()
    loss = LabelLoss(5, unions=((0, 2), (1, 4)))(logits, targets)
    assert loss == pytest.approx(float(expected))


def test_hard_pixels_are_the_ones_kept():
    logits, targets = batch()
    each = F.cross_entropy(logits, targets.long(), ignore_index=255, reduction="none")
    known = each[targets != 255]
    hardest = known.sort(descending=True).values[: int(0.25 * len(known))]
    bound = min(float(hardest[-1]), -np.log(0.7))
    expected = known[known >= bound].mean()
    assert LabelLoss(5, ohem_fraction=0.25)(logits, targets) == pytest.approx(float(expected))


def test_a_batch_without_labels_costs_nothing():
    logits, targets = batch()
    logits.requires_grad_()
    loss = LabelLoss(5)(logits, torch.full_like(targets, 255))
    loss.backward()
    assert loss == 0
    assert (logits.grad == 0).all()


def test_class_weights_follow_the_shares_within_classes_and_within_unions():
    pixels = np.zeros(256, np.int64)
    pixels[:3] = 50, 25, 25
    pixels[3:5] = 30, 10
    pixels[255] = 1000
    shares = np.array([0.5, 0.25, 0.25, 0.75, 0.25])
    assert class_weights(pixels, 3, 2).numpy() == pytest.approx(1 / np.log(1.10 + shares))


def test_distillation_is_zero_for_equals_and_falls_towards_the_teacher():
    student, _ = batch(seed=1)
    teacher, _ = batch(seed=2)
    assert distillation_loss(teacher, teacher, 2.0) == pytest.approx(0, abs=1e-6)
    far = distillation_loss(student, teacher, 2.0)
    near = distillation_loss(0.5 * (student + teacher), teacher, 2.0)
    assert 0 < near < far


@pytest.mark.parametrize(("task", "published"), [("encoder", 2.9691), ("segment", 3.7890)])
def test_class_weights_of_a_stage_are_those_that_erfnet_lists(task, published):
    # Buildings are a fifth of Cityscapes' labelled pixels by either list.
    building = np.array([2012, 7988])
    weights = class_weights(building, 2, offset=WEIGHT_OFFSETS[task])
    assert weights[0].item() == pytest.approx(published, rel=0.01)
