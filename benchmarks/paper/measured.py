"""Memory, time and arithmetic of a model in OpenVINO, in a process of its own."""

import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from napari_qmedsam.runtime import load_backend


@dataclass(frozen=True)
class Measured:
    """What a model takes to encode a slice.

    Parameters
    ----------
    disk, resident : float
        MB of the file or folder, and of weights and the buffers of one slice.
    milliseconds : float
        Median of an encoding.
    executed : str
        Precision of what was compiled.
    """

    disk: float
    resident: float
    milliseconds: float
    executed: str


def measured(weights: Path, cache: Path, repeats: int = 4) -> Measured:
    """Measure a model file or folder; converts it first, in yet another process."""
    for count in (2, repeats):
        command = [sys.executable, __file__, str(weights), str(count)]
        done = subprocess.run(
            command,
            env={**os.environ, "QMEDSAM_CACHE": str(cache)},
            check=True,
            stdout=subprocess.PIPE,
        )
    return Measured(**json.loads(done.stdout))


def _measure(weights: Path, repeats: int) -> Measured:
    """Encode one slice a few times."""
    before = _resident_megabytes()
    backend = load_backend(str(weights))
    size = backend.config.input_size
    image = np.random.default_rng(0).random((3, size, size), np.float32)
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        backend.encode(image)
        seconds.append(time.perf_counter() - start)
    files = [weights] if weights.is_file() else list(weights.iterdir())
    return Measured(
        disk=sum(path.stat().st_size for path in files) / 1e6,
        resident=_resident_megabytes() - before,
        milliseconds=1000 * statistics.median(seconds[1:]),
        executed=backend.info.precision.value,
    )


def _resident_megabytes() -> float:
    """Resident memory of this process now (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


if __name__ == "__main__":
    print(json.dumps(asdict(_measure(Path(sys.argv[1]), int(sys.argv[2])))))
