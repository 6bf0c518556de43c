"""What the package promises as a whole: light imports, one-way arrows."""

import ast
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

import napari_qmedsam

PACKAGE = Path(napari_qmedsam.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))

HEAVY = ("torch", "openvino", "onnxruntime", "napari", "qtpy", "PyQt6", "PySide6")
"""Packages that take long to load, or need a screen."""

QT = {"qtpy", "napari", "magicgui", "superqt", "vispy", "PyQt6", "PySide6"}
"""Packages that only gui/ may import."""

ROOMS = {
    "errors": set(),
    "cancelling": {"errors"},
    "disk": set(),
    "contents": set(),
    "provenance": set(),
    "volumes": {"errors", "disk", "contents"},
    "prompts": {"errors"},
    "preprocessing": {"errors", "prompts", "volumes", "models.configuration"},
    "phantoms": {"errors", "volumes"},
    "models": {"errors"},
    "checkpoints": {"errors", "models", "cancelling", "disk", "contents"},
    "runtime": {
        "overlap",
        "datasets",
        "provenance",
        "errors",
        "cancelling",
        "disk",
        "preprocessing",
        "models",
        "checkpoints",
    },
    "datasets": {
        "errors",
        "cancelling",
        "models.configuration",
        "phantoms",
        "preprocessing",
        "prompts",
        "volumes",
    },
    "overlap": {"errors"},
    "evaluation.surfaces": {"errors", "overlap"},
    "evaluation.metrics": {"evaluation.surfaces", "overlap"},
    "evaluation.rules": set(),
    "evaluation.scores": {
        "evaluation.metrics",
        "evaluation.rules",
        "evaluation.surfaces",
        "overlap",
    },
}
"""What the lower rooms may import of ours; the upper ones are free, but for UPPER."""

UPPER = {
    "gui.shared": {"cli", "gui.segment", "gui.quantize", "gui.compare"},
    "gui.segment": {"cli", "gui.quantize", "gui.compare"},
    "gui.quantize": {"cli", "gui.segment", "gui.compare"},
    "gui.compare": {"cli", "gui.segment", "gui.quantize"},
    "cli": {"gui"},
    "benchmark": {"gui", "cli"},
    "cohort": {"gui", "cli"},
    "opening": {"gui", "cli", "cohort"},
    "session": {"gui", "cli", "cohort", "replay"},
    "replay": {"gui", "cli", "cohort"},
    "label_provenance": {"gui", "cli", "cohort", "session", "replay"},
    "segmentation": {
        "gui",
        "cli",
        "cohort",
        "session",
        "evaluation",
        "quantization",
        "training",
    },
    "quantization": {"gui", "cli", "cohort", "session"},
    "training": {"gui", "cli", "cohort", "session"},
    "evaluation": {"gui", "cli", "cohort", "session"},
}
"""What the upper rooms may not import of ours."""

TORCH_FREE = (
    "errors",
    "volumes",
    "phantoms",
    "prompts",
    "preprocessing",
    "datasets",
    "overlap",
    "evaluation.metrics",
    "evaluation.surfaces",
)
"""Rooms on the ground floor."""


def dotted_name(path: Path) -> str:
    """`volumes.nifti` for volumes/nifti.py; `volumes` for its __init__."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def imports(path: Path, *, for_typing: bool = False) -> Iterator[str]:
    """Full names of all that `path` imports, in functions too; perhaps for typing."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped = {
        id(inner)
        for node in ast.walk(tree)
        if not for_typing
        and isinstance(node, ast.If)
        and "TYPE_CHECKING" in ast.dump(node.test)
        for statement in node.body
        for inner in ast.walk(statement)
    }
    package = ["napari_qmedsam", *path.relative_to(PACKAGE).parts[:-1]]
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            # "from a import b" may mean the module a.b; both are meant.
            yield from (f"{module}.{alias.name}" for alias in node.names)


def inside(name: str, room: str) -> bool:
    return name == room or name.startswith(room + ".")


def files_of(room: str) -> list[Path]:
    found = [path for path in MODULES if inside(dotted_name(path), room)]
    assert found, f"there is no {room}"
    return found


def ours(path: Path, *, for_typing: bool = False) -> list[str]:
    prefix = "napari_qmedsam."
    found = imports(path, for_typing=for_typing)
    return [name.removeprefix(prefix) for name in found if prefix in name]


def loaded_after(statement: str) -> set[str]:
    """Names of the modules that `statement` loads in a fresh interpreter."""
    code = f"import sys\n{statement}\nprint('\\n'.join(sys.modules))"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    return set(result.stdout.split())


def circles() -> set[tuple[str, ...]]:
    """Modules that import each other in a loop, late and for typing included.

    The package's own ``__init__`` is left out: it only hands names on.
    """
    known = {name: path for path in MODULES if (name := dotted_name(path))}
    arrows: dict[str, set[str]] = {}
    for name, path in known.items():
        # What "from a import b" names is the module a.b, or something in a.
        named = ours(path, for_typing=True)
        found = {n if n in known else n.rpartition(".")[0] for n in named}
        arrows[name] = found & known.keys() - {name}
    changed = True
    while changed:  # the transitive closure
        changed = False
        for reached in arrows.values():
            further = set().union(*(arrows[n] for n in reached)) - reached
            reached |= further
            changed |= bool(further)
    looped = {name: reached for name, reached in arrows.items() if name in reached}
    return {
        tuple(sorted(other for other in looped if name in looped[other] and other in r))
        for name, r in looped.items()
    }


def test_no_circle_of_imports():
    assert circles() == set()


@pytest.mark.parametrize(
    "module",
    [
        "napari_qmedsam",
        "napari_qmedsam.models",
        "napari_qmedsam.checkpoints.download",
        "napari_qmedsam.evaluation",
    ],
)
def test_import_loads_nothing_heavy(module):
    assert not loaded_after(f"import {module}") & set(HEAVY)


def test_openvino_runs_and_labels_are_written_without_torch():
    modules = "runtime.openvino_backend, session, opening, replay, evaluation.volumes"
    imports = "; ".join(
        f"import napari_qmedsam.{m.strip()}" for m in modules.split(",")
    )
    loaded = loaded_after(f"sys.modules['torch'] = None; {imports}")
    assert "napari_qmedsam.runtime.openvino_backend" in loaded
    assert "napari_qmedsam.runtime.tracing" not in loaded


def test_help_loads_nothing_heavy():
    statement = (
        "from napari_qmedsam.cli import main\n"
        "import contextlib, io\n"
        "sys.argv = ['qmedsam', '--help']\n"
        "with contextlib.redirect_stdout(io.StringIO()):\n"
        "    with contextlib.suppress(SystemExit):\n"
        "        main()\n"
    )
    assert not loaded_after(statement) & set(HEAVY)


@pytest.mark.parametrize(
    "path", [p for p in MODULES if not inside(dotted_name(p), "gui")], ids=dotted_name
)
def test_only_the_gui_knows_qt_and_napari(path):
    assert not {name.split(".")[0] for name in imports(path)} & QT


@pytest.mark.parametrize("room", TORCH_FREE)
def test_ground_floor_does_not_import_torch(room):
    for path in files_of(room):
        assert "torch" not in {name.split(".")[0] for name in imports(path)}, path


@pytest.mark.parametrize("room", ROOMS)
def test_lower_rooms_import_only_what_lies_below(room):
    allowed = {room, *ROOMS[room]}
    for path in files_of(room):
        for name in ours(path):
            assert any(inside(name, below) for below in allowed) or (
                name == "__version__"
            ), f"{dotted_name(path)} imports {name}"


def test_rooms_that_are_named_are_there():
    for allowed in (*ROOMS.values(), *UPPER.values()):
        for room in allowed:
            files_of(room)


@pytest.mark.parametrize("room", UPPER)
def test_upper_rooms_do_not_import_what_lies_above(room):
    for path in files_of(room):
        for name in ours(path):
            assert not any(inside(name, above) for above in UPPER[room]), (
                f"{dotted_name(path)} imports {name}"
            )


INTERFACES = {"quantize_layer", "main"}
"""Names that a module must have, so that a registry finds it."""


def public_names(path):
    """Yield the classes, functions and types that a module defines at its top."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            yield node.name
        elif isinstance(node, ast.Assign) and "TypeVar" not in ast.dump(node.value):
            names = [t.id for t in node.targets if isinstance(t, ast.Name)]
            yield from (n for n in names if n[0].isupper() and not n.isupper())


def test_no_two_things_share_a_name():
    """Commands apart, which are named after the functions that they call."""
    homes = defaultdict(set)
    for path in MODULES:
        if "cli" not in path.parts:
            for name in public_names(path):
                homes[name].add(dotted_name(path))
    assert "dice" in homes
    shared = {name: found for name, found in homes.items() if len(found) > 1}
    assert {n for n in shared if not n.startswith("_")} <= INTERFACES, shared


def test_version_is_the_installed_one():
    from importlib.metadata import version

    assert re.fullmatch(r"\d+\.\d+\.\d+\S*", napari_qmedsam.__version__)
    assert version("napari-qmedsam") == napari_qmedsam.__version__


@pytest.mark.gui
def test_manifest_is_valid_and_its_commands_exist():
    npe2 = pytest.importorskip("npe2")
    manifest = npe2.PluginManifest.from_file(PACKAGE / "napari.yaml")
    assert manifest.name == "napari-qmedsam"
    manifest.validate_imports()
