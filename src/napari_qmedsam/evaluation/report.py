"""What an evaluation found, in a form for people and one for machines."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from napari_qmedsam.evaluation.scores import Scores


@dataclass(frozen=True)
class ScoredObject:
    """One object with its scores.

    Parameters
    ----------
    class_id : int
    slice_index : int or None
        None where a whole object was scored in 3D.
    scores : Scores
    """

    class_id: int
    slice_index: int | None
    scores: Scores


@dataclass(frozen=True)
class EvaluationReport:
    """The scores of one volume under one model.

    Parameters
    ----------
    objects : tuple of ScoredObject
        Never empty.
    seconds : float
        For preparing, encoding and decoding; scoring is not counted.
    encoded_slices : int
    model, backend, precision : str
    """

    objects: tuple[ScoredObject, ...]
    seconds: float
    encoded_slices: int
    model: str
    backend: str
    precision: str

    @property
    def milliseconds_per_slice(self) -> float:
        """Time per encoded slice, all its boxes included."""
        return 1000 * self.seconds / max(1, self.encoded_slices)

    @property
    def mean(self) -> Scores:
        """Means over all scored objects."""
        return Scores.mean(item.scores for item in self.objects)

    def class_ids(self) -> list[int]:
        """Return the classes with scores, ascending."""
        return sorted({item.class_id for item in self.objects})

    def of_class(self, class_id: int) -> list[Scores]:
        """Return the scores of one class."""
        return [item.scores for item in self.objects if item.class_id == class_id]

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, in percent and mm; means over all scored objects.

        None stands for a mean of nothing, as JSON knows no NaN. `missed` counts
        objects of which nothing was found: their infinite distance is in no mean.
        """
        every = [item.scores for item in self.objects]
        return {
            "mean": _shown(every),
            "classes": {
                str(class_id): {
                    **_shown(self.of_class(class_id)),
                    **_counts(self.of_class(class_id)),
                }
                for class_id in self.class_ids()
            },
            **_counts(every),
            "seconds": round(self.seconds, 3),
            "model": self.model,
            "backend": self.backend,
            "precision": self.precision,
        }


def _shown(items: Sequence[Scores]) -> dict[str, float | None]:
    return {
        name: round(value, 4) if math.isfinite(value) else None
        for name, value in Scores.mean(items).shown().items()
    }


def _counts(items: Sequence[Scores]) -> dict[str, int]:
    return {"count": len(items), "missed": sum(item.is_missed for item in items)}
