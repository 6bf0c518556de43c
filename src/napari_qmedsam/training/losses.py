"""Losses on soft masks: Dice, focal, quality, and the dense auxiliary loss."""

import torch
from torch import Tensor
from torch.nn import functional


def dice_loss(logits: Tensor, target: Tensor) -> Tensor:
    """One minus the soft Dice of each object.

    Parameters
    ----------
    logits, target : Tensor, (B, H, W)
        Targets in [0, 1]; fractions are partial coverage.

    Returns
    -------
    Tensor, (B,)
    """
    probability = logits.sigmoid()
    overlap = (probability * target).sum((1, 2))
    total = (probability * probability).sum((1, 2)) + (target * target).sum((1, 2))
    return 1 - (2 * overlap + 1) / (total + 1)


def focal_loss(
    logits: Tensor, target: Tensor, box_area: Tensor, gamma: float = 1.0
) -> Tensor:
    """Focal cross-entropy, summed over pixels and divided by the box area.

    Dividing by the box instead of the image lets small objects count as much
    as large ones (Lin et al., RetinaNet, for the focal factor).

    Parameters
    ----------
    logits, target : Tensor, (B, H, W)
    box_area : Tensor, (B,)
        In pixels of the logits.

    Returns
    -------
    Tensor, (B,)
    """
    entropy = functional.binary_cross_entropy_with_logits(
        logits, target, reduction="none"
    )
    distance = (logits.sigmoid() - target).abs()
    return (entropy * distance**gamma).sum((1, 2)) / box_area


def quality_loss(guess: Tensor, logits: Tensor, target: Tensor) -> Tensor:
    """Squared error of a model's guess of the IoU of its own masks.

    Parameters
    ----------
    guess : Tensor, (B,)
    logits, target : Tensor, (B, H, W)
        Thresholded at 0 and 0.5; no gradient passes through them.

    Returns
    -------
    Tensor, scalar
    """
    found, truth = logits.detach() > 0, target > 0.5
    both = (found & truth).sum((1, 2))
    either = (found | truth).sum((1, 2)).clamp(min=1)
    return (guess - both / either).square().mean()


def prototype_loss(features: Tensor, masks: Tensor, boxes: Tensor) -> Tensor:
    """Make pixels of one object alike and unlike the rest of its box.

    Each pixel of a box is classified by whether its feature is nearer to the
    mean feature of the object or to that of the rest of the box. It trains the
    image encoder before the decoder has learned what a box means.

    Parameters
    ----------
    features : Tensor, (N, C, H, W)
    masks : Tensor, (N, K, H, W)
        Soft masks of K objects per image.
    boxes : Tensor, (N, K, H, W)
        1 inside each object's box.

    Returns
    -------
    Tensor, scalar
    """
    features = functional.normalize(features.float(), dim=1)
    rest = boxes * (1 - masks)
    logits = 8.0 * (_similarity(features, masks) - _similarity(features, rest))
    entropy = functional.binary_cross_entropy_with_logits(
        logits, masks, reduction="none"
    )
    return ((entropy * boxes).sum((2, 3)) / boxes.sum((2, 3)).clamp(min=1)).mean()


def _similarity(features: Tensor, weights: Tensor) -> Tensor:
    """Cosine of every pixel with the weighted mean feature: (N, K, H, W)."""
    mean = torch.einsum("nchw,nkhw->nkc", features, weights)
    mean = functional.normalize(mean, dim=2)
    return torch.einsum("nchw,nkc->nkhw", features, mean)


def distillation_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared error of two image embeddings times their overlap.

    QMedSAM, section 3.3. The intersection over union is that of real values:
    the sum of what both have (of one sign, the smaller magnitude) over the sum
    of the larger magnitudes. It weighs an image and passes no gradient: through
    it, the loss could be lowered by making the embeddings disagree.

    Parameters
    ----------
    student, teacher : Tensor, (N, C, E, E)

    Returns
    -------
    Tensor, (N,)
    """
    student, teacher = student.float(), teacher.float()
    error = (student - teacher).square().mean((1, 2, 3))
    with torch.no_grad():
        sizes = student.abs(), teacher.abs()
        both = torch.minimum(*sizes) * (student * teacher > 0)
        either = torch.maximum(*sizes)
        overlap = both.sum((1, 2, 3)) / either.sum((1, 2, 3)).clamp(min=1e-12)
    return error * overlap
