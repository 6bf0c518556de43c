"""Put measured tables into documentation pages.

python benchmarks/pages.py docs/benchmarks.md bench DIR/bench.md
"""

import re
import sys
from pathlib import Path


def put_between(page: Path, marker: str, text: str) -> None:
    """Replace what lies between ``<!-- marker -->`` and ``<!-- /marker -->``."""
    between = rf"(<!-- {marker} -->\n).*?(<!-- /{marker} -->)"
    content = page.read_text(encoding="utf-8")
    content = re.sub(
        between, lambda m: f"{m[1]}\n{text}\n\n{m[2]}", content, flags=re.DOTALL
    )
    page.write_text(content, encoding="utf-8")


if __name__ == "__main__":
    page, marker, table = sys.argv[1:]
    put_between(Path(page), marker, Path(table).read_text(encoding="utf-8").rstrip())
