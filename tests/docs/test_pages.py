"""Pages: their code runs, their commands are commands, the site builds strictly."""

import importlib.util
import json
import re
import shlex
import shutil
import subprocess
import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import SimpleQueue
from threading import Thread

import numpy as np
import pytest
import typer

from napari_qmedsam.cli import app
from napari_qmedsam.volumes import Volume, write_volume
from napari_qmedsam.volumes.volume import Modality

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([ROOT / "README.md", *DOCS.glob("*.md")])


def commands(text):
    """Yield every line of a block that begins with qmedsam, continued lines joined."""
    for block in re.findall(r"^```\n(.*?)^```", text, re.M | re.S):
        for line in block.replace("\\\n", " ").splitlines():
            if line.startswith("qmedsam "):
                yield line.split("  #")[0]


def options_of(words):
    """Return a command's own options by their names, or None of no command."""
    group = typer.main.get_command(app)
    used = []
    for word in words:
        inner = getattr(group, "commands", {}).get(word)
        if inner is None:
            break
        group = inner
        used.append(word)
    if not used:
        return None
    return {opt for p in group.params for opt in (*p.opts, *p.secondary_opts)}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_commands_and_options_of_a_page_exist(page):
    for line in commands(page.read_text(encoding="utf-8")):
        words = shlex.split(line)[1:]
        known = options_of(words)
        assert known is not None, line
        given = {w.split("=")[0] for w in words if re.match(r"--?[a-z]", w)}
        assert given <= known | {"-h", "--help"}, line


def test_the_same_voxel_in_every_library(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    array = rng.integers(-900, 900, (8, 40, 50)).astype(np.int16)
    turn = np.deg2rad(9)
    affine = np.diag([-0.8, 0.9, 3.0, 1.0])
    affine[:2, :2] = [
        [-0.8 * np.cos(turn), -0.9 * np.sin(turn)],
        [-0.8 * np.sin(turn), 0.9 * np.cos(turn)],
    ]
    affine[:3, 3] = (30, -20, 100)
    write_volume(Volume(array, (3.0, 0.9, 0.8), affine, Modality.CT), "ct.nii.gz")
    text = (DOCS / "files.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.S)
    assert len(blocks) == 3
    names: dict = {}
    for block in blocks:
        exec(compile(block, "files.md", "exec"), names)
    assert (tmp_path / "labels.nii.gz").exists()


def test_every_page_is_in_the_navigation():
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    named = set(re.findall(r"[\w-]+\.md", text[text.index("\nnav:") :]))
    assert named == {page.name for page in DOCS.glob("*.md")}


def test_versions_of_files_are_those_of_the_code():
    from napari_qmedsam import label_provenance
    from napari_qmedsam.cohort import results, run_folder
    from napari_qmedsam.segmentation import case_folder

    text = (DOCS / "files.md").read_text(encoding="utf-8")
    for module in (label_provenance, results, run_folder, case_folder):
        assert f"`{module.FORMAT}`" in text
        assert module.VERSION == 1


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built site, in which a warning is an error."""
    if importlib.util.find_spec("mkdocs") is None:
        pytest.skip("needs the dependency group docs")
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "-q", "-d", folder],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
def test_the_site_builds_without_a_warning(site):
    page = (site / "reference" / "index.html").read_text(encoding="utf-8")
    assert "add_object" in page
    assert "Voxel size" in page
    # One line of the docstring is about several parameters, each with its default.
    (backend,) = re.findall(r"<code>backend</code>.*?</tr>", page, re.DOTALL)[:1]
    assert "openvino" in backend
    changelog = (site / "changelog" / "index.html").read_text(encoding="utf-8")
    assert "Unreleased" in changelog
    contributing = (site / "contributing" / "index.html").read_text("utf-8")
    assert "Where decisions live" in contributing


LOOK = """
<iframe id=frame width=%d height=900></iframe>
<script>
const show = page => new Promise(done => { frame.onload = done; frame.src = page; });
const look = async page => {
  await show(page);
  const d = frame.contentDocument;
  const images = [...d.images];
  images.forEach(i => { i.loading = 'eager'; });
  await Promise.all(images.map(i => i.decode().catch(() => 0)));
  const texts = [...d.querySelectorAll('.md-content :is(p, li, img, h1, h2, h3)')];
  const wide = texts.filter(e => !e.closest('.md-typeset__scrollwrap, pre')
    && e.getBoundingClientRect().right > frame.clientWidth + 1);
  return {
    title: d.querySelector('h1').innerText,
    height: d.querySelector('.md-content').offsetHeight,
    raw: (d.body.innerText.match(/\\| *---|\\n- |```/g) || []).length,
    scrolled: [...d.querySelectorAll('.md-typeset__table')]
      .filter(t => t.querySelectorAll('th').length <= 12)
      .filter(t => t.scrollWidth > t.closest('.md-typeset__scrollwrap').clientWidth)
      .map(t => t.innerText.slice(0, 80)),
    lost: images.filter(i => !i.naturalWidth).map(i => i.src),
    wide: wide.map(e => e.outerHTML.slice(0, 80)),
    over: d.documentElement.scrollWidth - frame.clientWidth,
  };
};
(async () => {
  const seen = {};
  try { for (const page of %s) seen[page] = await look(page); }
  catch (error) { seen.error = String(error); }
  fetch('/', {method: 'POST', body: JSON.stringify(seen)});
})();
</script>
"""
"""Opens each page in a frame, one after the other, and sends what it sees."""


class Site(SimpleHTTPRequestHandler):
    """Serves the site, and takes what the browser saw of it."""

    def do_POST(self):
        size = int(self.headers["Content-Length"])
        self.server.seen.put(json.loads(self.rfile.read(size)))

    def log_message(self, *args):
        pass


@pytest.mark.slow
@pytest.mark.parametrize("width", [400, 1280], ids=["phone", "screen"])
def test_a_browser_shows_every_page_whole(site, width):
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("needs Chromium")
    inner = [p.parent.relative_to(site).as_posix() for p in site.glob("*/index.html")]
    assert len(inner) == len(list(DOCS.glob("*.md"))) - 1
    pages = ["/index.html", *(f"/{page}/" for page in sorted(inner))]
    (site / "look.html").write_text(LOOK % (width, json.dumps(pages)))
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Site, directory=site)) as server:
        server.seen = SimpleQueue()
        Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/look.html"
        options = ["--headless", "--no-sandbox", "--disable-gpu"]
        with subprocess.Popen(
            [browser, *options, "--remote-debugging-port=0", address],
            stderr=subprocess.DEVNULL,
        ) as process:
            try:
                seen = server.seen.get(timeout=120)
            finally:
                process.terminate()
        server.shutdown()
    assert list(seen) == pages, seen.get("error")
    for page, found in seen.items():
        assert found["title"], page
        assert found["height"] > 200, page
        assert found["lost"] == found["wide"] == [], page
        assert found["over"] <= 0, page
        assert found["raw"] == 0, page  # Markdown that was not understood
        assert found["scrolled"] == [] or width < 1000, page
