"""What an evaluation found, in a form for people and one for machines."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any


@dataclass(frozen=True)
class Score:
    """One object's scores, 0 to 1.

    Parameters
    ----------
    class_id : int
    slice_index : int or None
        None where a whole object was scored in 3D.
    dsc, nsd : float
    """

    class_id: int
    slice_index: int | None
    dsc: float
    nsd: float


@dataclass(frozen=True)
class EvaluationReport:
    """The scores of one volume under one model.

    Parameters
    ----------
    scores : tuple of Score
        Never empty.
    seconds : float
        For preparing, encoding and decoding; scoring is not counted.
    encoded_slices : int
    model, backend, precision : str
    """

    scores: tuple[Score, ...]
    seconds: float
    encoded_slices: int
    model: str
    backend: str
    precision: str

    @property
    def milliseconds_per_slice(self) -> float:
        """Time per encoded slice, all its boxes included."""
        return 1000 * self.seconds / max(1, self.encoded_slices)

    def class_ids(self) -> list[int]:
        """Return the classes with scores, ascending."""
        return sorted({score.class_id for score in self.scores})

    def of_class(self, class_id: int) -> list[Score]:
        """Return the scores of one class."""
        return [score for score in self.scores if score.class_id == class_id]

    def to_dict(self) -> dict[str, Any]:
        """Return plain data; scores in percent, means over all scored objects."""
        return {
            "mean": _percent(self.scores),
            "classes": {
                str(class_id): {
                    **_percent(self.of_class(class_id)),
                    "count": len(self.of_class(class_id)),
                }
                for class_id in self.class_ids()
            },
            "count": len(self.scores),
            "seconds": round(self.seconds, 3),
            "model": self.model,
            "backend": self.backend,
            "precision": self.precision,
        }


def _percent(scores: Sequence[Score]) -> dict[str, float]:
    return {
        "dsc": round(100 * fmean(score.dsc for score in scores), 4),
        "nsd": round(100 * fmean(score.nsd for score in scores), 4),
    }
