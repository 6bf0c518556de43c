import math

import pytest
import torch

from napari_qmedsam.training.losses import (
    dice_loss,
    distillation_loss,
    focal_loss,
    prototype_loss,
    quality_loss,
)


def test_dice_loss_is_zero_for_the_answer_and_one_for_its_opposite():
    target = torch.zeros(1, 8, 8)
    target[:, 2:6, 2:6] = 1
    logits = (2 * target - 1) * 50
    assert dice_loss(logits, target).item() == pytest.approx(0, abs=1e-5)
    # No overlap of 16 and 48 pixels: 1 - (0 + 1) / (64 + 1).
    assert dice_loss(-logits, target).item() == pytest.approx(1 - 1 / 65, abs=1e-4)


def test_focal_loss_is_divided_by_the_box_area():
    target, logits = torch.zeros(1, 4, 4), torch.zeros(1, 4, 4)
    # 16 pixels of log 2, each weighed by its distance of one half.
    one = focal_loss(logits, target, torch.tensor([1.0])).item()
    assert one == pytest.approx(16 * math.log(2) / 2, rel=1e-5)
    eight = focal_loss(logits, target, torch.tensor([8.0])).item()
    assert eight == pytest.approx(one / 8, rel=1e-5)


def test_prototype_loss_falls_when_features_tell_the_object():
    mask = torch.zeros(1, 1, 8, 8)
    mask[..., 2:5, 2:5] = 1
    box = torch.zeros(1, 1, 8, 8)
    box[..., 1:6, 1:6] = 1
    telling = torch.cat([mask, 1 - mask], 1)
    blind = torch.ones(1, 2, 8, 8)
    assert prototype_loss(telling, mask, box) < 0.01
    assert prototype_loss(blind, mask, box).item() == pytest.approx(math.log(2))


def test_distillation_loss_is_the_squared_error_times_the_overlap():
    teacher = torch.tensor([2.0, 2.0, -1.0, 0.0]).reshape(1, 1, 2, 2)
    student = torch.tensor([1.0, -2.0, -1.0, 0.0]).reshape(1, 1, 2, 2)
    # Squared errors 1, 16, 0, 0; both have 1 and 1, either 2, 2 and 1.
    loss = distillation_loss(student, teacher)
    assert loss.item() == pytest.approx(17 / 4 * 2 / 5)
    assert distillation_loss(teacher, teacher).item() == 0


def test_distillation_pulls_towards_the_teacher_where_they_disagree_most():
    teacher = torch.ones(1, 1, 2, 2)
    student = torch.tensor([0.1, -1.0, -1.0, 0.1]).reshape(1, 1, 2, 2)
    student.requires_grad_()
    distillation_loss(student, teacher).sum().backward()
    assert (student.grad < 0).all()


def test_quality_loss_compares_the_guess_with_the_overlap():
    target, logits = torch.zeros(1, 4, 4), torch.full((1, 4, 4), -1.0)
    target[:, :2] = 1
    logits[:, 1:3] = 1
    # Rows 0 and 1 against rows 1 and 2: one row of three in common.
    assert quality_loss(torch.tensor([1 / 3]), logits, target).item() < 1e-12
    off = quality_loss(torch.tensor([1 / 3 + 0.5]), logits, target).item()
    assert off == pytest.approx(0.25)
