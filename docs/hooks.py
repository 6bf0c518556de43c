"""Makes links of a page that leave docs/ ones into the repository, for the site.

On a host of repositories such a link works as it is. The site has no files beside its
pages: there it points to the repository, if pyproject.toml has its address, and is
plain text if not, rather than a link to nowhere.
"""

import posixpath
import re
import tomllib
from pathlib import Path

LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")

INCLUDED = {"CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md"}
"""Files of the repository that are pages of the site."""


def on_config(config):
    """Take the address of the repository from where it is set."""
    root = Path(config.config_file_path).parent
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))
    hooks = project["tool"]["hatch"]["metadata"]["hooks"]
    config.repo_url = hooks["custom"]["repository"]
    return config


def on_page_markdown(markdown: str, page, config, files) -> str:
    """Change the links of a page."""
    folder = posixpath.dirname(page.file.src_uri)
    address = (config.repo_url or "").rstrip("/")
    # What is included stands above docs/, and so do its links.
    is_included = page.file.src_uri in INCLUDED.values()

    def link(found: re.Match) -> str:
        sign, label, target = found.groups()
        if re.match(r"[a-z]+:|#", target):
            return found.group(0)
        base = ".." if is_included else folder
        path, _, anchor = target.partition("#")
        path = posixpath.normpath(posixpath.join("docs", base, path))
        anchor = f"#{anchor}" if anchor else ""
        if path in INCLUDED:
            return f"[{label}]({INCLUDED[path]}{anchor})"
        if path.startswith("docs/") and files.get_file_from_path(path[5:]):
            return f"{sign}[{label}]({path[5:]}{anchor})" if is_included else found[0]
        return f"[{label}]({address}/blob/main/{path}{anchor})" if address else label

    if is_included:
        name = next(k for k, v in INCLUDED.items() if v == page.file.src_uri)
        markdown = (
            Path(config.config_file_path).parent.joinpath(name).read_text("utf-8")
        )
    return LINK.sub(link, markdown)


def on_page_content(html: str, page, config, files) -> str:
    """Show the roles of docstrings, ``:func:`~a.b.c```, as the names that they name.

    And keep options of commands on one line, which a browser breaks behind hyphens.
    """
    role = r":(?:func|class|meth|mod|attr|data):<code>~?(?:[\w.]*\.)?(\w+)</code>"
    html = re.sub(role, r"<code>\1</code>", html)
    return re.sub(
        r"(?<!<pre>)<code>[^<]*--[^<]*</code>",
        lambda code: re.sub(r"--[\w-]+", r"<span class=option>\g<0></span>", code[0]),
        html,
    )
