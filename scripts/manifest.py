#!/usr/bin/env python
"""Write the suffixes of all formats into napari's manifest, which is static.

A new format is a module with its record and a line in volumes/registry.py; then
run this. Pictures are left to napari's own reader and writer.
"""

import re
from pathlib import Path

from napari_qmedsam.volumes.pictures import PICTURE
from napari_qmedsam.volumes.registry import FORMATS

MANIFEST = Path(__file__).parents[1] / "src" / "napari_qmedsam" / "napari.yaml"


def with_suffixes(manifest: str) -> str:
    """Return a manifest with the suffixes that are read and written now."""
    kinds = [kind for kind in FORMATS if kind is not PICTURE]
    patterns = [f"        - '*{s}'\n" for kind in kinds for s in kind.suffixes]
    manifest = re.sub(
        r"(?<=filename_patterns:\n)(?:        - '\*\.\w[\w.]*'\n)*",
        "".join(patterns),
        manifest,
    )
    written = ", ".join(f"'{s}'" for kind in kinds for s in kind.written)
    return re.sub(r"(?<=filename_extensions: )\[.*\]", f"[{written}]", manifest)


if __name__ == "__main__":
    MANIFEST.write_text(with_suffixes(MANIFEST.read_text("utf-8")), encoding="utf-8")
