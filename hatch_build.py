"""Gives the package's metadata its links, from where it is built.

The README's links are relative, so that they work in a clone and on any host. An index
knows no repository, so they become absolute in what is uploaded, and the project gets
its addresses. The repository is set in one place, `repository` in pyproject.toml. As
long as it is empty there, it is the one whose workflow builds the release
(GITHUB_SERVER_URL and GITHUB_REPOSITORY, which the runner sets). Built without any, a
wheel has relative links and no addresses, rather than made-up ones.
"""

import os
import re
from pathlib import Path

from hatchling.metadata.plugin.interface import MetadataHookInterface


class Links(MetadataHookInterface):
    """Fills in the dynamic fields `readme` and `urls`."""

    def update(self, metadata: dict) -> None:
        """Set them."""
        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        address = repository(self.config["repository"])
        reference = os.environ.get("GITHUB_REF_NAME") or "main"
        if address:
            text = with_absolute_links(text, address, reference)
            metadata["urls"] = {
                "Repository": address,
                "Documentation": f"{address}/tree/{reference}/docs",
                "Changelog": f"{address}/blob/{reference}/CHANGELOG.md",
                "Issues": f"{address}/issues",
            }
        metadata["readme"] = {"content-type": "text/markdown", "text": text}


def repository(named: str) -> str:
    """Return the address of the repository; empty where nobody said it."""
    server = os.environ.get("GITHUB_SERVER_URL", "")
    path = os.environ.get("GITHUB_REPOSITORY", "")
    return (named or (f"{server}/{path}" if server and path else "")).rstrip("/")


def with_absolute_links(text: str, address: str, reference: str) -> str:
    """Return Markdown whose relative links and pictures point to a repository."""

    def absolute(found: re.Match) -> str:
        sign, label, target = found.groups()
        if re.match(r"[a-z]+:|#", target):
            return found.group(0)
        kind = "raw" if sign else "blob"
        return f"{sign}[{label}]({address}/{kind}/{reference}/{target})"

    return re.sub(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)", absolute, text)
