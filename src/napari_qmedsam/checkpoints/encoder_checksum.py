"""Which models have one image encoder, told from their files."""

import hashlib
import json
from pathlib import Path

from napari_qmedsam.checkpoints.header import QUANTIZED_KEY
from napari_qmedsam.checkpoints.source import ModelSource

ENCODER = "image_encoder."
"""What the names of an image encoder's tensors begin with."""


def encoder_sha256(source: ModelSource) -> str:
    """Return a checksum of what decides a model's image embeddings.

    Models that differ in their decoders alone have one, so that each slice need be
    encoded once for all of them. Of files that are not safetensors it is that of the
    whole file: a model shares with itself then.

    Returns
    -------
    str
        Hexadecimal SHA-256.
    """
    digest = hashlib.sha256(repr((source.config, source.fake_quant)).encode())
    if source.graphs is not None:
        for path in source.files:
            if path.stem == "encoder":
                digest.update(path.read_bytes())
    elif source.path.suffix == ".safetensors":
        layers = source.card.get(QUANTIZED_KEY, {})
        own = {name: entry for name, entry in layers.items() if ENCODER in name}
        digest.update(json.dumps(own, sort_keys=True).encode())
        _add_tensors(digest, source.path)
    else:
        digest.update(source.sha256.encode())
    return digest.hexdigest()


def _add_tensors(digest: "hashlib._Hash", path: Path) -> None:
    """Add the encoder's tensors as they are stored, without making tensors of them.

    A safetensors file is the length of its header in 8 bytes, the header in JSON,
    and the tensors, each between two offsets.
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        for name in sorted(header):
            if not name.startswith(ENCODER):
                continue
            entry = header[name]
            digest.update(f"{name} {entry['dtype']} {entry['shape']};".encode())
            first, last = entry["data_offsets"]
            file.seek(8 + length + first)
            digest.update(file.read(last - first))
