"""The lock file of development: whole, with checksums, from nowhere in particular."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "requirements-dev.lock"


@pytest.fixture(scope="module")
def locked() -> dict[str, tuple[str, str]]:
    """Return version and checksums of each package."""
    text = re.sub(r"^#.*\n", "", LOCK.read_text(encoding="utf-8"), flags=re.M)
    entries = re.split(r"\n(?=\S)", text.strip())
    found = {}
    for entry in entries:
        name, rest = entry.split("==", 1)
        found[name] = rest.split()[0], rest
    return found


def test_every_package_has_the_checksum_of_a_file(locked):
    assert len(locked) > 100
    bare = [n for n, (_, rest) in locked.items() if "--hash=sha256:" not in rest]
    assert bare == []


def test_it_names_no_place_to_install_from():
    text = LOCK.read_text(encoding="utf-8")
    assert "://" not in text
    assert not re.search(r"^\s*(-i|-f|--(extra-)?index|--find-links)", text, re.M)


def test_it_has_the_versions_that_the_tests_ran_with(locked):
    pins = re.findall(
        r"^([\w.-]+)==(\S+)", (ROOT / "constraints.txt").read_text(), re.M
    )
    assert len(pins) > 20
    for name, version in pins:
        plain = re.sub(r"[-_.]+", "-", name).lower()
        if plain in locked:
            assert locked[plain][0] == version, name
