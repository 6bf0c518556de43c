"""What a training step minimises, as one module that can run in parallel."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_qmedsam.errors import InvalidSettings
from napari_qmedsam.models.feature_pyramid import split_features
from napari_qmedsam.models.medsam import MedSAM
from napari_qmedsam.training.losses import (
    dice_loss,
    distillation_loss,
    focal_loss,
    prototype_loss,
    quality_loss,
)
from napari_qmedsam.training.samples import Batch

Decode = Callable[..., tuple[Tensor, Tensor]]
"""From embedding, boxes and perhaps points to logits and quality."""

AGREEMENT = (0.7, 0.9)
"""Soft Dice of teacher and label from which, and at which, the teacher is trusted."""


class MaskObjective(nn.Module):
    """Dice and focal loss of the masks, and what a stage adds to them.

    Parameters
    ----------
    model : MedSAM
        Trained as far as its parameters require gradients.
    auxiliary : float
        Weight of the dense loss on the embedding.
    distillation : float
        Weight of the distance to the teacher's embedding.
    mask_distillation : float
        Share of the teacher's masks in the targets, where they agree.
    quality : float
        Weight of the error of the model's guess of its own overlap.
    teacher : MedSAM, optional
        Its embedding has the same shape.
    bfloat16 : bool
    compiled : bool
        Compile the blocks of the image encoder, and the decoder for boxes alone.

    Raises
    ------
    InvalidSettings
        If the embeddings of model and teacher differ in shape.
    """

    def __init__(
        self,
        model: MedSAM,
        *,
        auxiliary: float = 0.0,
        distillation: float = 0.0,
        mask_distillation: float = 0.0,
        quality: float = 0.0,
        teacher: MedSAM | None = None,
        bfloat16: bool = False,
        compiled: bool = False,
    ) -> None:
        super().__init__()
        if teacher is not None:
            check_teacher(model, teacher)
        self.model = model
        self.auxiliary, self.quality = auxiliary, quality
        self.in_bfloat16 = bfloat16
        self.distillation = distillation if teacher is not None else 0.0
        self.mask_distillation = mask_distillation if teacher is not None else 0.0
        encoder = model.image_encoder
        self.encoder_learns = any(p.requires_grad for p in encoder.parameters())
        # In tuples: the teacher is no part of what is trained or moved, and a compiled
        # encoder registered beside the model would show every parameter twice.
        self._parts = _parts(model, compiled)
        self._teacher_parts = None if teacher is None else _parts(teacher, compiled)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Return the losses by name; ``loss`` is the one to minimise."""
        embedding, logits, quality = self._run(batch)
        logits, truth = logits[:, 0].float(), batch.masks.flatten(0, 1)
        target = truth
        if self.mask_distillation:
            target = self._with_teacher(truth, batch)
        scale = logits.shape[-1] / self.model.config.input_size
        sides = (batch.tight[:, 2:] - batch.tight[:, :2] + 1) * scale
        losses = {
            "dice": dice_loss(logits, target).mean(),
            "focal": focal_loss(logits, target, sides.prod(1)).mean(),
        }
        loss = losses["dice"] + losses["focal"]
        if self.auxiliary:
            losses["dense"] = self._dense(embedding, batch)
            loss = loss + self.auxiliary * losses["dense"]
        if self.distillation:
            losses["distillation"] = self._distance(embedding, batch)
            loss = loss + self.distillation * losses["distillation"]
        if self.quality:
            losses["quality"] = quality_loss(quality[:, 0].float(), logits, truth)
            loss = loss + self.quality * losses["quality"]
        return {"loss": loss, **losses}

    def _run(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        encoder, decode = self._parts
        with self._arithmetic(batch):
            embedding = batch.embeddings
            if embedding is None:
                with torch.set_grad_enabled(self.encoder_learns):
                    embedding = encoder(batch.images)
            return embedding, *decode(embedding, batch.boxes, batch.points)

    def _arithmetic(self, batch: Batch) -> torch.autocast:
        device = batch.images.device.type
        return torch.autocast(device, torch.bfloat16, enabled=self.in_bfloat16)

    @torch.no_grad()
    def _with_teacher(self, truth: Tensor, batch: Batch) -> Tensor:
        """Draw targets to the teacher's masks of tight boxes, as far as they agree.

        A teacher that knows organs draws their edges where people do; where it
        does not know the object, the label stands alone.
        """
        assert self._teacher_parts is not None  # or there would be no distillation
        _, decode = self._teacher_parts
        with self._arithmetic(batch):
            embedding = batch.embeddings
            if embedding is None:
                embedding = self._teacher_embedding(batch)
            logits = decode(embedding, batch.tight)[0][:, 0].float()
        agreement = 1 - dice_loss(logits, truth)
        low, high = AGREEMENT
        trust = ((agreement - low) / (high - low)).clamp(0, 1)
        share = (self.mask_distillation * trust)[:, None, None]
        return torch.lerp(truth, logits.sigmoid(), share)

    def _dense(self, embedding: Tensor, batch: Batch) -> Tensor:
        """Dense loss on the finest features that are no finer than 64 px."""
        config = self.model.config
        parts = split_features(
            embedding, config.prompt_dim, config.encoder.lateral_channels
        )
        features = parts[min(1, len(parts) - 1)]
        size = features.shape[-1]
        small = functional.adaptive_avg_pool2d(batch.masks, size)
        drawn = self.model.prompt_encoder.draw_boxes(batch.boxes)
        inside = functional.adaptive_avg_pool2d((drawn + 1) / 2, size)
        return prototype_loss(features, small, inside.view_as(small))

    def _distance(self, embedding: Tensor, batch: Batch) -> Tensor:
        with torch.no_grad():
            wanted = self._teacher_embedding(batch)
        return distillation_loss(embedding, wanted).mean()

    def _teacher_embedding(self, batch: Batch) -> Tensor:
        own = batch.teacher_images
        assert self._teacher_parts is not None  # or there would be no distillation
        encoder, _ = self._teacher_parts
        return encoder(batch.images if own is None else own)


def _parts(model: MedSAM, compiled: bool) -> tuple[nn.Module, Decode]:
    """Return image encoder and decoder of a model, compiled if wanted.

    The encoder's blocks each by itself: those that are alike are compiled once, in a
    fifth of the time that the whole takes. The decoder as a whole, for boxes alone:
    with points its shapes change, and compiled for any shape its code fails (2.13).
    """
    if not compiled:
        return model.image_encoder, model.decode
    for blocks in model.image_encoder.modules():
        if isinstance(blocks, nn.ModuleList) and not _holds_lists(blocks):
            for block in blocks:
                block.compile(dynamic=False)
    boxes_alone = torch.compile(model.decode, dynamic=False)

    def decode(
        embedding: Tensor, boxes: Tensor, points: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        if points is None:
            return boxes_alone(embedding, boxes)
        return model.decode(embedding, boxes, points)

    return model.image_encoder, decode


def _holds_lists(blocks: nn.ModuleList) -> bool:
    inner = (part for block in blocks for part in block.modules())
    return any(isinstance(part, nn.ModuleList) for part in inner)


def check_teacher(model: MedSAM, teacher: MedSAM) -> None:
    """Refuse a teacher whose embedding has another shape."""
    shapes = [
        (m.config.embedding_channels, m.config.embedding_size) for m in (model, teacher)
    ]
    if shapes[0] != shapes[1]:
        (channels, size), (other, other_size) = shapes
        raise InvalidSettings(
            f"The teacher '{teacher.config.name}' embeds a slice as {other} x "
            f"{other_size} x {other_size}, but '{model.config.name}' as {channels} x "
            f"{size} x {size}. Choose a teacher with an embedding of that shape."
        )


def needs_own_images(model: MedSAM, teacher: MedSAM) -> bool:
    """Tell whether the teacher takes slices prepared in another way."""
    mine, theirs = model.config, teacher.config
    return (mine.input_size, mine.preprocessing) != (
        theirs.input_size,
        theirs.preprocessing,
    )
