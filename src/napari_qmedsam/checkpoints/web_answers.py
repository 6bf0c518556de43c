"""Reading what a web server answered: ranges, web pages, Drive's question."""

import re
from html.parser import HTMLParser
from typing import TYPE_CHECKING
from urllib.parse import urlencode, urljoin, urlsplit

if TYPE_CHECKING:
    import requests

CONFIRMATION_FORM = "download-form"
"""Id of the form on Google Drive's page about files too large to scan."""

TRUSTED_CONFIRMATION_HOST = "drive.usercontent.google.com"
"""Where that form may lead, apart from the host that showed it."""


def is_web_page(response: "requests.Response") -> bool:
    """Tell whether a server sent a page for people in place of a file."""
    kind = response.headers.get("Content-Type", "")
    return kind.split(";")[0].strip().lower() in ("text/html", "application/xhtml+xml")


def offered_range(response: "requests.Response") -> tuple[int, int | None]:
    """Return where the body starts in the whole file, and that file's size.

    (0, size) for an answer that ignores the range asked for; the size is None
    where the server does not tell. Of a refused range (416), only the size is
    meaningful.
    """
    if response.status_code in (206, 416):
        stated = response.headers.get("Content-Range", "")
        found = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)", stated.strip())
        if found is None:
            return -1, None
        first, total = found.groups()
        return int(first or 0), None if total == "*" else int(total)
    length = response.headers.get("Content-Length", "")
    return 0, int(length) if length.isdigit() else None


def confirmation_address(response: "requests.Response") -> str | None:
    """Return the address behind the button of Drive's confirmation page.

    None if the page has no such form, or its form leads to a host that is
    neither the page's own nor Google's for downloads.
    """
    form = _DownloadForm()
    form.feed(response.text)
    if form.action is None:
        return None
    target = urljoin(response.url, form.action)
    host, own_host = urlsplit(target).netloc, urlsplit(response.url).netloc
    if host not in (own_host, TRUSTED_CONFIRMATION_HOST):
        return None
    if not form.fields:
        return target
    return f"{target}{'&' if '?' in target else '?'}{urlencode(form.fields)}"


class _DownloadForm(HTMLParser):
    """Collects the action and the hidden fields of Drive's form."""

    def __init__(self) -> None:
        super().__init__()
        self.action: str | None = None
        self.fields: dict[str, str] = {}
        self._inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {key: value or "" for key, value in attrs}
        if tag == "form" and values.get("id") == CONFIRMATION_FORM:
            self._inside = True
            self.action = values.get("action", "")
        elif tag == "input" and self._inside and values.get("type") == "hidden":
            self.fields[values.get("name", "")] = values.get("value", "")

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._inside = False
