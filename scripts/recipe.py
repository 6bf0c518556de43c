"""Complete the recipe for conda-forge for a built sdist, and write it out.

    python scripts/recipe.py dist/napari_qmedsam-0.1.0.tar.gz --maintainer ACCOUNT

Version and checksum are the sdist's. Accounts are of those who agreed to maintain the
package; without one the recipe is not accepted. Addresses are those that
`pyproject.toml` names, if it does. Only Python's own library is needed.
"""

import argparse
import hashlib
import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def completed(text: str, sdist: Path, maintainers: list[str], address: str) -> str:
    """Return a recipe's text with what it takes from one sdist.

    Raises
    ------
    ValueError
        If the file is not named like an sdist of the package, or the recipe does not
        have each of the lines once.
    """
    found = re.fullmatch(r"napari_qmedsam-(.+)\.tar\.gz", sdist.name)
    if found is None:
        raise ValueError(f"{sdist.name!r} is no sdist of napari-qmedsam.")
    checksum = hashlib.sha256(sdist.read_bytes()).hexdigest()
    lines = {
        r'  version: ".*"': f'  version: "{found[1]}"',
        r"  sha256: .*": f"  sha256: {checksum}",
    }
    if maintainers:
        accounts = "".join(f"\n    - {account}" for account in maintainers)
        lines[r"  recipe-maintainers: .*"] = f"  recipe-maintainers:{accounts}"
    if address:
        lines[r"  homepage: .*"] = f"  homepage: {address}\n  repository: {address}"
    for pattern, line in lines.items():
        text, count = re.subn(f"^{pattern}$", line, text, flags=re.MULTILINE)
        if count != 1:
            raise ValueError(f"The recipe has {count} lines like {pattern!r}, not one.")
    # What was said of an incomplete recipe no longer holds.
    return re.sub(r"\A(#.*\n)+", "", text)


def main(arguments: list[str] | None = None) -> None:
    """Read the command line, write the recipe."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("sdist", type=Path)
    parser.add_argument("--maintainer", action="append", default=[])
    parser.add_argument("-o", "--output", type=Path, help="a file; else the terminal")
    given = parser.parse_args(arguments)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    hook = project["tool"]["hatch"]["metadata"]["hooks"]["custom"]
    text = (ROOT / "recipe" / "recipe.yaml").read_text(encoding="utf-8")
    made = completed(text, given.sdist, given.maintainer, hook["repository"])
    if given.output is None:
        sys.stdout.write(made)
    else:
        given.output.write_text(made, encoding="utf-8")


if __name__ == "__main__":
    main()
