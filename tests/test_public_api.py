"""The names that a notebook needs: there, light to import, and documented."""

import ast
import inspect
import re
import subprocess
import sys
from enum import Enum
from pathlib import Path

import pytest

import napari_qmedsam

PAGE = Path(__file__).parents[1] / "docs" / "api.md"
NAMES = sorted(set(napari_qmedsam.__all__) - {"__version__"})


def public_callables():
    """Functions, classes and methods of the public names."""
    for name in NAMES:
        item = getattr(napari_qmedsam, name)
        if inspect.isclass(item) and issubclass(item, (Enum, Exception)):
            continue
        yield name, item
        for attribute, member in inspect.getmembers(item, callable):
            home = getattr(member, "__module__", None) or ""
            if home.startswith("napari_qmedsam") and not attribute.startswith("_"):
                yield f"{name}.{attribute}", member


def parameters_of(item):
    kinds = inspect.Parameter
    stars = {kinds.VAR_POSITIONAL: "*", kinds.VAR_KEYWORD: "**"}
    found = inspect.signature(item).parameters.values()
    return [stars.get(p.kind, "") + p.name for p in found if p.name != "self"]


def documented(item):
    """Names under "Parameters" in a NumPy docstring."""
    sections = re.split(r"^(\w+)\n-+\n", inspect.getdoc(item), flags=re.MULTILINE)
    if "Parameters" not in sections:
        return set()
    section = sections[sections.index("Parameters") + 1]
    heads = re.findall(r"^(\*{0,2}\w[^:\n]*)(?: : .*)?$", section, re.MULTILINE)
    return {name.strip() for head in heads for name in head.split(",")}


def test_every_name_is_there_and_nothing_else():
    assert dir(napari_qmedsam) == sorted(napari_qmedsam.__all__)
    for name in NAMES:
        assert getattr(napari_qmedsam, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = napari_qmedsam.nothing


def test_type_checkers_see_the_names_that_load_late():
    tree = ast.parse(Path(napari_qmedsam.__file__).read_text(encoding="utf-8"))
    late = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.If)
        for statement in node.body
        if isinstance(statement, ast.ImportFrom)
        for alias in statement.names
    }
    assert late == set(NAMES)


@pytest.mark.parametrize("name", ["Session", "open_session", "dice", "Volume"])
def test_looking_at_a_name_loads_no_torch(name):
    code = (
        f"import sys, napari_qmedsam; napari_qmedsam.{name}\n"
        "heavy = ('torch', 'openvino', 'napari', 'qtpy')\n"
        "print([module for module in heavy if module in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_functions_of_three_arguments_say_what_each_means():
    checked, missing = 0, {}
    for name, item in public_callables():
        assert inspect.getdoc(item), name
        wanted = parameters_of(item)
        if len(wanted) >= 3:
            checked += 1
            if unknown := set(wanted) - documented(item):
                missing[name] = unknown
    assert missing == {}
    assert checked > 15


def test_the_page_says_what_is_stable():
    page = PAGE.read_text(encoding="utf-8")
    assert [name for name in NAMES if f"`{name}`" not in page] == []
    methods = re.findall(r"`(\w+)`", page.split("| method | |")[1].split("\n\n")[0])
    assert "segment" in methods
    for method in methods:
        assert callable(getattr(napari_qmedsam.Session, method)), method
