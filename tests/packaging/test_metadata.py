"""What indexes and the hub show, and what workflows run."""

import importlib.util
import re
import tomllib
from pathlib import Path

import pytest
import yaml
from recipe import completed

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


@pytest.fixture(scope="module")
def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def hook():
    pytest.importorskip("hatchling", reason="needs the dependency group package")
    spec = importlib.util.spec_from_file_location("hook", ROOT / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def metadata(hook, monkeypatch):
    """Give the dynamic fields as they are in an environment."""

    def made(repository="", **variables):
        for name in (
            "GITHUB_SERVER_URL",
            "GITHUB_REPOSITORY",
            "GITHUB_REF_NAME",
        ):
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        found: dict = {}
        hook.Links(str(ROOT), {"repository": repository}).update(found)
        return found

    return made


def targets(text):
    return re.findall(r"\]\(([^)\s]+)\)", text)


def test_links_are_those_of_the_repository_that_builds(metadata):
    made = metadata(
        GITHUB_SERVER_URL="https://example.org",
        GITHUB_REPOSITORY="us/napari-qmedsam",
        GITHUB_REF_NAME="v1.2.3",
    )
    assert made["urls"]["Repository"] == "https://example.org/us/napari-qmedsam"
    text = made["readme"]["text"]
    assert all(re.match("https?:|#", target) for target in targets(text))
    place = "https://example.org/us/napari-qmedsam"
    assert f"({place}/raw/v1.2.3/docs/images/panel.png)" in text
    assert f"({place}/blob/v1.2.3/docs/segmenting.md)" in text


def test_the_address_that_is_set_goes_before_the_one_that_builds(metadata):
    made = metadata("https://example.org/a/b/", GITHUB_REPOSITORY="us/fork")
    assert made["urls"]["Issues"] == "https://example.org/a/b/issues"
    assert "(https://example.org/a/b/raw/main/docs/images/" in made["readme"]["text"]


def test_the_address_is_set_in_one_place_or_is_still_to_be_set(project):
    address = project["tool"]["hatch"]["metadata"]["hooks"]["custom"]["repository"]
    assert re.fullmatch(r"(https://[\w.-]+/[\w.-]+/[\w.-]+)?", address)
    # An address that is unknown is in no other file either, badges included.
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert bool(address) or "badge" not in readme


def test_no_address_is_made_up(metadata):
    made = metadata()
    assert "urls" not in made
    assert made["readme"]["text"] == (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_version_that_is_claimed_is_tested(project):
    claimed = {
        c.rsplit(" ", 1)[1]
        for c in project["project"]["classifiers"]
        if re.search(r"Python :: 3\.\d+$", c)
    }
    suite = yaml.safe_load((ROOT / ".github/workflows/test.yml").read_text())
    tested = set(suite["jobs"]["suite"]["strategy"]["matrix"]["python"])
    assert claimed <= tested
    assert project["project"]["requires-python"] == f">={min(tested, key=_key)}"


def _key(version):
    return tuple(map(int, version.split(".")))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda p: p.name)
def test_workflows_pin_actions_by_commit_and_start_with_no_rights(path):
    text = path.read_text(encoding="utf-8")
    content = yaml.safe_load(text)
    assert content["permissions"] == {"contents": "read"}
    used = re.findall(r"uses: (\S+)(.*)", text)
    assert used
    for action, comment in used:
        if not action.startswith("./"):
            assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", action), action
            assert re.fullmatch(r" # v\d+\.\d+\.\d+", comment), action
    assert "password" not in text.replace("no password", "")


def test_recipe_has_the_dependencies_of_the_package(project):
    """By their names on conda-forge, with the same bounds."""
    names = {
        "opencv-python-headless": "py-opencv",
        "torch": "pytorch",
        "matplotlib": "matplotlib-base",
    }
    wanted = set()
    for requirement in project["project"]["dependencies"]:
        # A recipe without architecture has no markers: it takes what any system needs.
        name, bound = re.match(r"([\w.-]+)([^;]*)", requirement).groups()
        known = names.get(name.lower(), name.lower())
        wanted.add(f"{known} {bound.strip()}".strip())
    recipe = yaml.safe_load((ROOT / "recipe" / "recipe.yaml").read_text())
    run = set(recipe["requirements"]["run"])
    assert run == wanted | {"python >=${{ python_min }}"}
    assert recipe["build"]["python"]["entry_points"] == [
        f"qmedsam = {project['project']['scripts']['qmedsam']}"
    ]


def test_recipe_is_completed_for_an_sdist(tmp_path):
    sdist = tmp_path / "napari_qmedsam-1.2.3.tar.gz"
    sdist.write_bytes(b"abc")
    text = (ROOT / "recipe" / "recipe.yaml").read_text(encoding="utf-8")
    made = completed(text, sdist, ["somebody", "another"], "https://example.org/a/b")
    before, after = yaml.safe_load(text), yaml.safe_load(made)
    assert f"sha256: {'0' * 64}\n" in text
    # SHA-256 of "abc", as FIPS 180-2 gives it.
    abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert after["source"]["sha256"] == abc
    assert after["context"]["version"] == "1.2.3"
    assert after["extra"]["recipe-maintainers"] == ["somebody", "another"]
    assert after["about"]["repository"] == "https://example.org/a/b"
    assert after["requirements"] == before["requirements"]
    assert after["tests"] == before["tests"]
    with pytest.raises(ValueError, match="is no sdist"):
        completed(text, tmp_path / "napari_qmedsam-1.2.3.whl", [], "")
    with pytest.raises(ValueError, match="not one"):
        completed(text.replace("sha256", "md5"), sdist, [], "")


def test_issue_forms_ask_for_no_patient_data():
    form = yaml.safe_load((ROOT / ".github/ISSUE_TEMPLATE/problem.yml").read_text())
    assert "No patient data" in form["body"][0]["attributes"]["value"]
    ids = [part.get("id") for part in form["body"] if part["type"] != "markdown"]
    assert len(ids) == len(set(ids))
    (clean,) = [part for part in form["body"] if part.get("id") == "clean"]
    assert clean["attributes"]["options"][0]["required"]
