"""What came of a case, as a value and as a file."""

import json
import math
from dataclasses import asdict, dataclass, field
from typing import Any

from pydantic import TypeAdapter, ValidationError

from napari_qmedsam.evaluation.report import ScoredObject

FORMAT, VERSION = "qmedsam-cohort-case", 1
"""Kind and version that a file of a case names."""


@dataclass(frozen=True)
class LabelledObject:
    """An object that was segmented by its own box."""

    object_id: int
    name: str
    voxels: int
    volume_ml: float | None


@dataclass(frozen=True)
class ModelResult:
    """What one model made of a case.

    Parameters
    ----------
    model : str
        Name of the variant.
    scored : tuple of ScoredObject
        Of cases to be scored.
    labelled : tuple of LabelledObject
        Of cases to be segmented.
    labels : str
        Name of the file with the labels, below the folder of the run.
    encode_ms, decode_ms : float or None
        Medians over slices; None where every slice was empty.
    """

    model: str
    scored: tuple[ScoredObject, ...] = ()
    labelled: tuple[LabelledObject, ...] = ()
    labels: str = ""
    encode_ms: float | None = None
    decode_ms: float | None = None


@dataclass(frozen=True)
class CaseResult:
    """What came of a case.

    Parameters
    ----------
    case, patient, modality : str
    inputs : dict of str to str
        SHA-256 of each file or folder that was read.
    models : tuple of ModelResult
        In the order of the plan; none of a broken case.
    class_names : dict of int to str
        As far as the labels name them.
    notices : tuple of str
        What readers had to repair or assume.
    error : str
        Why there is no result; empty where there is.
    """

    case: str
    patient: str
    modality: str = ""
    inputs: dict[str, str] = field(default_factory=dict)
    models: tuple[ModelResult, ...] = ()
    class_names: dict[int, str] = field(default_factory=dict)
    notices: tuple[str, ...] = ()
    error: str = ""

    def to_json(self) -> str:
        """Return the text of the case's file."""
        content = {"format": FORMAT, "version": VERSION, **asdict(self)}
        return json.dumps(_plain(content), indent=1, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "CaseResult | None":
        """Read the text of a case's file; None where it is no such text.

        A case whose file cannot be read is done again, so nothing is lost.
        """
        try:
            content = json.loads(text)
            if (content.pop("format"), content.pop("version")) != (FORMAT, VERSION):
                return None
            return _ADAPTER.validate_python(content)
        except (ValueError, KeyError, AttributeError, ValidationError):
            return None


_ADAPTER = TypeAdapter(CaseResult)


def _plain(value: Any) -> Any:
    """Return data for JSON, which has no number for an infinite distance."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
