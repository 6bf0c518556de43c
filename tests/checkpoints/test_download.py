"""Downloads, from a server on this machine that can be told to misbehave."""

import hashlib
import re
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from napari_qmedsam.cancelling import cancellable
from napari_qmedsam.checkpoints import web_address
from napari_qmedsam.checkpoints.catalogue import (
    CATALOGUE,
    CheckpointEntry,
    entry_of,
    google_drive,
)
from napari_qmedsam.checkpoints.download import (
    data_folder,
    fetch,
    is_fetched,
    weights_path,
)
from napari_qmedsam.checkpoints.transfer import CHUNK_BYTES, Transfer
from napari_qmedsam.errors import (
    BadCheckpoint,
    Cancelled,
    DownloadFailed,
    UnknownModel,
)

CONTENT = bytes(range(256)) * 4096  # 1 MiB
STOP = 6 * CHUNK_BYTES  # what comes after the last whole chunk is lost
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@dataclass
class Behaviour:
    """What the server does, and the requests it has seen."""

    content: bytes = CONTENT
    ranges: bool = True
    stop_after: int | None = None
    """Close the connection after this many bytes of the body."""
    stops: int = 1
    """How many answers are cut short like that."""
    silence: threading.Event | None = None
    """Fall silent after STOP bytes of the body, until this is set."""
    requested: list[tuple[str, str | None]] = field(default_factory=list)


class Handler(BaseHTTPRequestHandler):
    behaviour: Behaviour

    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        behaviour = self.behaviour
        asked = self.headers.get("Range")
        behaviour.requested.append((self.path, asked))
        if self.path.startswith("/missing"):
            self.send_error(404)
        elif self.path.startswith("/page"):
            self.send_page(b"<!doctype html><title>Quota exceeded</title>")
        elif self.path.startswith("/question"):
            self.send_page(
                b'<form id="download-form" action="/weights.pth" method="get">'
                b'<input type="hidden" name="id" value="a b">'
                b'<input type="hidden" name="confirm" value="t">'
                b'<input type="submit" value="Download anyway"></form>'
            )
        elif self.path.startswith("/elsewhere"):
            self.send_page(b'<form id="download-form" action="http://127.0.0.2/x">')
        else:
            self.send_weights(asked)

    def send_page(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def send_weights(self, asked: str | None) -> None:
        behaviour, body = self.behaviour, self.behaviour.content
        size, first = len(body), 0
        if asked and behaviour.ranges:
            first = int(re.fullmatch(r"bytes=(\d+)-", asked)[1])
            if first >= size:
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{size}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{size - 1}/{size}")
        else:
            self.send_response(200)
        body = body[first:]
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if behaviour.stop_after is not None and behaviour.stops > 0:
            behaviour.stops -= 1
            body = body[: behaviour.stop_after]
            self.close_connection = True
        if behaviour.silence is not None:
            self.wfile.write(body[:STOP])
            behaviour.silence.wait(60)
            body = body[STOP:]
        with suppress(OSError):  # the other side may have gone by now
            self.wfile.write(body)


@pytest.fixture
def behaviour() -> Behaviour:
    return Behaviour()


@pytest.fixture
def server(behaviour: Behaviour, monkeypatch, tmp_path) -> Iterator[str]:
    """Base address of a server; the data folder is a temporary one."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("QMEDSAM_HOME", str(tmp_path / "home"))
    handler = type("BoundHandler", (Handler,), {"behaviour": behaviour})
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=httpd.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{httpd.server_port}"
    httpd.shutdown()
    httpd.server_close()
    thread.join()


def entry(*urls: str, **changes: object) -> CheckpointEntry:
    values = {
        "name": "test",
        "title": "Test weights",
        "architecture": "demo",
        "filename": "test.pth",
        "urls": urls,
        "page": "https://example.org/weights",
        "licence": "Apache-2.0",
        "size_bytes": len(CONTENT),
        "sha256": SHA256,
        "citation": "",
    }
    return CheckpointEntry(**(values | changes))


def part_of(weights: CheckpointEntry) -> Path:
    path = weights_path(weights)
    return path.with_name(path.name + ".part")


def leave_part(weights: CheckpointEntry, content: bytes) -> None:
    part_of(weights).parent.mkdir(parents=True)
    part_of(weights).write_bytes(content)


def test_whole_file_is_fetched_with_progress_and_kept(server, behaviour):
    weights = entry(f"{server}/weights.pth")
    seen: list[tuple[int, int | None]] = []
    path = fetch(weights, progress=lambda *step: seen.append(step))
    assert path == weights_path(weights)
    assert path.read_bytes() == CONTENT
    assert not part_of(weights).exists()
    assert seen[0] == (0, len(CONTENT))
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert seen == sorted(seen)
    fetch(weights)
    assert len(behaviour.requested) == 1  # the second time nothing is asked


def test_a_connection_that_breaks_is_taken_up_where_it_stopped(server, behaviour):
    behaviour.stop_after = STOP
    weights = entry(f"{server}/weights.pth")
    assert fetch(weights).read_bytes() == CONTENT
    assert [asked for _, asked in behaviour.requested] == [None, f"bytes={STOP}-"]


def test_truncated_downloads_add_up_over_several_calls(server, behaviour, monkeypatch):
    monkeypatch.setattr(web_address, "ATTEMPTS", 1)
    behaviour.stop_after, behaviour.stops = STOP, 2
    weights = entry(f"{server}/weights.pth")
    for kept in (STOP, 2 * STOP):
        with pytest.raises(DownloadFailed, match=f"stopped after {kept}"):
            fetch(weights)
        assert part_of(weights).read_bytes() == CONTENT[:kept]
        assert not weights_path(weights).exists()
    assert fetch(weights).read_bytes() == CONTENT
    assert behaviour.requested[-1][1] == f"bytes={2 * STOP}-"


def test_a_server_without_ranges_starts_over(server, behaviour):
    behaviour.ranges = False
    weights = entry(f"{server}/weights.pth")
    leave_part(weights, CONTENT[:1000])
    assert fetch(weights).read_bytes() == CONTENT


def test_a_part_that_is_already_whole_is_only_verified(server, behaviour):
    weights = entry(f"{server}/weights.pth")
    leave_part(weights, CONTENT)
    assert fetch(weights).read_bytes() == CONTENT
    assert behaviour.requested == [("/weights.pth", f"bytes={len(CONTENT)}-")]


@pytest.mark.parametrize("stale", [b"x" * 1000, b"x" * len(CONTENT) + b"more"])
def test_a_part_of_another_file_is_dropped_and_fetched_afresh(server, stale):
    weights = entry(f"{server}/weights.pth")
    leave_part(weights, stale)
    assert fetch(weights).read_bytes() == CONTENT


def test_a_wrong_checksum_leaves_nothing_behind(server):
    weights = entry(f"{server}/weights.pth", sha256="0" * 64)
    with pytest.raises(DownloadFailed, match="SHA-256"):
        fetch(weights)
    assert not weights_path(weights).exists()
    assert not part_of(weights).exists()


def test_a_file_of_the_wrong_size_is_not_even_downloaded(server, behaviour):
    behaviour.content = CONTENT[:-1]
    weights = entry(f"{server}/weights.pth")
    with pytest.raises(DownloadFailed, match="offers 1048575 bytes where 1048576"):
        fetch(weights)
    assert not part_of(weights).exists()


def test_nothing_published_means_nothing_checked_but_length(server):
    weights = entry(f"{server}/weights.pth", size_bytes=None, sha256=None)
    assert fetch(weights).read_bytes() == CONTENT


def test_a_web_page_is_not_taken_for_weights(server):
    weights = entry(f"{server}/page", size_bytes=None, sha256=None)
    with pytest.raises(DownloadFailed, match="sent a web page instead"):
        fetch(weights)
    assert not weights_path(weights).exists()


def test_the_question_about_large_files_is_answered(server, behaviour):
    weights = entry(f"{server}/question?id=1")
    assert fetch(weights).read_bytes() == CONTENT
    assert behaviour.requested[-1][0] == "/weights.pth?id=a+b&confirm=t"


def test_a_question_that_leads_to_a_strange_host_is_not_followed(server, behaviour):
    weights = entry(f"{server}/elsewhere")
    with pytest.raises(DownloadFailed, match="web page"):
        fetch(weights)
    assert len(behaviour.requested) == 1


def test_a_missing_file_is_reported_with_the_way_round(server):
    weights = entry(f"{server}/missing")
    with pytest.raises(DownloadFailed) as caught:
        fetch(weights)
    message = str(caught.value)
    assert "answered 404" in message
    assert "https://example.org/weights" in message
    assert str(weights_path(weights)) in message
    assert "--weights FILE" in message


def test_the_second_address_is_tried_when_the_first_fails(server):
    weights = entry(f"{server}/missing", f"{server}/weights.pth")
    assert fetch(weights).read_bytes() == CONTENT


def test_offline_is_one_sentence_about_what_to_do(server, monkeypatch):
    weights = entry("http://127.0.0.1:9/weights.pth")  # nothing listens there
    with pytest.raises(DownloadFailed, match=r"127.0.0.1:9 cannot be reached.*Fetch"):
        fetch(weights)


def test_cancel_waits_for_no_server_and_the_next_call_goes_on(server, behaviour):
    weights = entry(f"{server}/weights.pth")
    behaviour.silence = silence = threading.Event()
    part = part_of(weights)

    def has_stalled() -> bool:
        return part.exists() and part.stat().st_size == STOP

    with cancellable(has_stalled), pytest.raises(Cancelled, match=f"{STOP} bytes are"):
        fetch(weights)
    assert not silence.is_set()
    assert part.read_bytes() == CONTENT[:STOP]
    behaviour.silence = None
    assert fetch(weights).read_bytes() == CONTENT
    assert behaviour.requested[-1][1] == f"bytes={STOP}-"
    # The first answer goes on as if nothing had happened; nobody listens.
    silence.set()
    for thread in threading.enumerate():
        if isinstance(thread, Transfer):
            thread.join(60)
    assert not part.exists()
    assert weights_path(weights).read_bytes() == CONTENT


def test_a_folder_that_cannot_be_written_is_named(server, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("QMEDSAM_HOME", str(tmp_path / "file"))
    with pytest.raises(DownloadFailed, match="set QMEDSAM_HOME"):
        fetch(entry(f"{server}/weights.pth"))


def test_a_cached_file_of_the_wrong_size_is_replaced(server):
    weights = entry(f"{server}/weights.pth")
    weights_path(weights).parent.mkdir(parents=True)
    weights_path(weights).write_bytes(b"damaged")
    assert not is_fetched(weights)
    assert fetch(weights).read_bytes() == CONTENT


def test_data_folder_is_the_users_unless_the_environment_moves_it(
    monkeypatch, tmp_path
):
    monkeypatch.setenv("QMEDSAM_HOME", str(tmp_path))
    assert data_folder() == tmp_path
    monkeypatch.delenv("QMEDSAM_HOME")
    assert "napari-qmedsam" in str(data_folder())


def test_embedded_weights_are_named_when_they_are_missing():
    weights = entry(filename="not-there.safetensors")
    assert weights.is_embedded
    with pytest.raises(BadCheckpoint, match="Reinstall"):
        fetch(weights)


def test_catalogue_entries_say_where_they_come_from():
    assert next(iter(CATALOGUE)) == "qmedsam_lite"
    for name, known in CATALOGUE.items():
        assert known.name == name
        assert known.licence
        assert known.sha256 is None or re.fullmatch("[0-9a-f]{64}", known.sha256)
        if not known.is_embedded:
            assert known.page.startswith("https://")
            assert all(url.startswith("https://") for url in known.urls)
            assert known.citation
    assert "confirm=t" in google_drive("x")


def test_unknown_names_list_the_known_ones():
    with pytest.raises(UnknownModel, match="demo, demo-qat, lite_medsam, medsam_vit_b"):
        entry_of("medsam")
