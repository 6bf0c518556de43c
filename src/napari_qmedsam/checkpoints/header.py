"""The header of our safetensors files: the model card, and what is written there."""

import json
import os
from pathlib import Path
from typing import Any

from napari_qmedsam.contents import XML, ZIP, foreign_contents
from napari_qmedsam.errors import BadCheckpoint

METADATA_KEY = "qmedsam"
"""Entry of the safetensors header that holds our model card as JSON."""

QUANTIZED_KEY = "quantized"
"""Entry of the card that lists the quantized layers."""

TILED_SHARE_KEY = "tiled_share"
"""Entry of the card that says what `ModelConfig.tiled_share` is for these weights."""

FORMAT_VERSION = 1
"""Version of our file format; files of a later version are refused."""


def read_card(path: str | os.PathLike) -> dict[str, Any]:
    """Return the model card in a safetensors header; empty where there is none.

    Raises
    ------
    BadCheckpoint
        If the file is damaged, or of a later format version.
    """
    path = existing(path)
    if not is_safetensors(path):
        return {}
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
        card = json.loads(metadata.get(METADATA_KEY, "{}"))
    except (SafetensorError, json.JSONDecodeError, OSError) as error:
        raise BadCheckpoint(
            f"'{path.name}' is not a readable safetensors file: {error}."
        ) from error
    if not isinstance(card, dict):
        raise BadCheckpoint(f"The model card of '{path.name}' is not a JSON object.")
    version = card.get("format_version", FORMAT_VERSION)
    if not isinstance(version, int) or version > FORMAT_VERSION:
        raise BadCheckpoint(
            f"'{path.name}' has format version {version}; this release reads up to "
            f"{FORMAT_VERSION}. Update napari-qmedsam."
        )
    return card


def is_safetensors(path: Path) -> bool:
    """Tell whether a weights file is one of safetensors, which its suffix says.

    Raises
    ------
    BadCheckpoint
        If it holds something else than its suffix says.
    """
    is_named_so = path.suffix == ".safetensors"
    with path.open("rb") as file:
        head = file.read(9)
    if not is_named_so and head[5:] == b"\0\0\0{":
        other = path.with_suffix(".safetensors").name
        raise BadCheckpoint(
            f"'{path.name}' is a safetensors file under another suffix. Rename it to "
            f"'{other}'."
        )
    if is_named_so and head.startswith((b"PK\x03\x04", b"\x80\x02")):
        raise BadCheckpoint(
            f"'{path.name}' is a PyTorch file under another suffix. Rename it to "
            f"'{path.with_suffix('.pth').name}'."
        )
    return is_named_so


def existing(path: str | os.PathLike) -> Path:
    """Return the path of a weights file.

    Raises
    ------
    BadCheckpoint
        If there is none, or something else stands in for it.
    """
    path = Path(path)
    if not path.is_file():
        raise BadCheckpoint(f"There is no weights file '{path}'.")
    check_contents(path)
    return path


def check_contents(path: Path) -> None:
    """Refuse what stands in for a model file: an HTML page, a Git LFS pointer.

    Raises
    ------
    BadCheckpoint
    """
    with path.open("rb") as file:
        head = file.read(512)
    if not head:
        raise BadCheckpoint(f"'{path.name}' is empty. Download it again.")
    found = foreign_contents(head)
    # PyTorch's own files are zip archives, and graphs of OpenVINO are XML.
    if found is not None and found.what not in (ZIP, XML):
        raise BadCheckpoint(
            f"'{path.name}' is {found.what}. {found.advice or 'Download it again.'}"
        )
