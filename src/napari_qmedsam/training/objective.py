"""What a training step minimises, as one module that can run in parallel."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_qmedsam.errors import InvalidSettings
from napari_qmedsam.models.feature_pyramid import unpack
from napari_qmedsam.models.medsam import MedSAM
from napari_qmedsam.training.losses import (
    dice_loss,
    distillation_loss,
    focal_loss,
    prototype_loss,
)
from napari_qmedsam.training.samples import Batch


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
    teacher : MedSAM, optional
        Its embedding has the same shape.
    bfloat16, compiled : bool

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
        teacher: MedSAM | None = None,
        bfloat16: bool = False,
        compiled: bool = False,
    ) -> None:
        super().__init__()
        if teacher is not None:
            check_teacher(model, teacher)
        self.model = model
        self.auxiliary, self.in_bfloat16 = auxiliary, bfloat16
        self.distillation = distillation if teacher is not None else 0.0
        # In a tuple: the teacher is no part of what is trained or moved.
        self._teacher = (teacher,)
        self._forward = torch.compile(self._run) if compiled else self._run
        encoder = model.image_encoder
        self.encoder_learns = any(p.requires_grad for p in encoder.parameters())

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Return the losses by name; ``loss`` is the one to minimise."""
        model, boxes = self.model, batch.boxes
        embedding, logits = self._forward(batch.images, boxes)
        logits, target = logits[:, 0].float(), batch.masks.flatten(0, 1)
        scale = logits.shape[-1] / model.config.input_size
        width = (boxes[:, 2] - boxes[:, 0] + 1) * scale
        height = (boxes[:, 3] - boxes[:, 1] + 1) * scale
        losses = {
            "dice": dice_loss(logits, target).mean(),
            "focal": focal_loss(logits, target, width * height).mean(),
        }
        loss = losses["dice"] + losses["focal"]
        if self.auxiliary:
            losses["dense"] = self._dense(embedding, batch)
            loss = loss + self.auxiliary * losses["dense"]
        if self.distillation:
            losses["distillation"] = self._distance(embedding, batch)
            loss = loss + self.distillation * losses["distillation"]
        return {"loss": loss, **losses}

    def _run(self, images: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
        with torch.autocast(
            images.device.type, torch.bfloat16, enabled=self.in_bfloat16
        ):
            with torch.set_grad_enabled(self.encoder_learns):
                embedding = self.model.image_encoder(images)
            return embedding, self.model.decode(embedding, boxes)[0]

    def _dense(self, embedding: Tensor, batch: Batch) -> Tensor:
        """Dense loss on the finest features that are no finer than 64 px."""
        config = self.model.config
        parts = unpack(embedding, config.prompt_dim, config.encoder.lateral_channels)
        features = parts[min(1, len(parts) - 1)]
        size = features.shape[-1]
        small = functional.adaptive_avg_pool2d(batch.masks, size)
        drawn = self.model.prompt_encoder.draw_boxes(batch.boxes)
        inside = functional.adaptive_avg_pool2d((drawn + 1) / 2, size)
        return prototype_loss(features, small, inside.view_as(small))

    def _distance(self, embedding: Tensor, batch: Batch) -> Tensor:
        teacher = self._teacher[0]
        assert teacher is not None  # or there would be no distillation
        images = batch.teacher_images
        with torch.no_grad():
            wanted = teacher.image_encoder(batch.images if images is None else images)
        return distillation_loss(embedding, wanted).mean()


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
