"""Fuzz our own parsers, guided by the lines that an input reaches.

    scripts/fuzz_guided.py PARSER [--seconds N]

Inputs that reach something new are kept in tests/data/corpora/PARSER.zip, where a run
begins and a test reads them all. Anything but a volume or one of our errors ends the
run with a traceback and the input. Needs atheris, which has no place among the
packages of development: it is built for Linux alone. `pip install atheris` into an
environment of its own, beside the project's packages.
"""

import argparse
import hashlib
import subprocess
import sys
import tempfile
import zipfile
from contextlib import suppress
from pathlib import Path

CORPORA = Path(__file__).parents[1] / "tests" / "data" / "corpora"
PARSERS = ("nifti", "nrrd", "mha", "picture", "npz")
"""Readers of scripts/fuzz.py whose headers this project parses itself."""

LARGEST = 2048
"""Bytes of an input."""


def unpack(parser: str, folder: Path) -> None:
    """Put the kept inputs of a parser into a folder."""
    kept = CORPORA / f"{parser}.zip"
    if kept.is_file():
        with zipfile.ZipFile(kept) as archive:
            archive.extractall(folder)


def pack(parser: str, folder: Path) -> int:
    """Keep the inputs of a folder; the same ones give the same bytes."""
    CORPORA.mkdir(parents=True, exist_ok=True)
    contents = sorted(path.read_bytes() for path in folder.iterdir())
    with zipfile.ZipFile(
        CORPORA / f"{parser}.zip", "w", zipfile.ZIP_DEFLATED
    ) as archive:
        for content in contents:
            name = hashlib.sha256(content).hexdigest()[:16]
            archive.writestr(zipfile.ZipInfo(name), content)
    return len(contents)


def run_parser(parser: str, arguments: list[str]) -> None:
    """Be the process that libFuzzer drives; never returns."""
    import atheris

    with atheris.instrument_imports(include=["napari_qmedsam.volumes"]):
        from napari_qmedsam.errors import QMedSAMError
        from napari_qmedsam.volumes import read_labels, read_volume
    import logging
    import warnings

    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    suffix = {"nifti": ".nii", "picture": ".tif"}.get(parser, f".{parser}")
    scratch = tempfile.TemporaryDirectory(prefix="guided-")
    path = Path(scratch.name) / f"a{suffix}"

    def one(data: bytes) -> None:
        path.write_bytes(data)
        for read in (read_volume, read_labels):
            with suppress(QMedSAMError):
                read(path)

    atheris.Setup([sys.argv[0], *arguments], one)
    atheris.Fuzz()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parser", choices=PARSERS)
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--drive", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.drive is not None:
        run_parser(options.parser, options.drive)
    with tempfile.TemporaryDirectory(prefix="corpus-") as scratch:
        found = Path(scratch)
        unpack(options.parser, found)
        command = [sys.executable, __file__, options.parser, "--drive"]
        command += [f"-max_len={LARGEST}", "-timeout=5", "-rss_limit_mb=3000"]
        command += [f"-max_total_time={options.seconds}", str(found)]
        run = subprocess.run(command)
        if run.returncode == 0:
            print(f"{options.parser}: {pack(options.parser, found)} inputs kept")
        return run.returncode


if __name__ == "__main__":
    sys.exit(main())
