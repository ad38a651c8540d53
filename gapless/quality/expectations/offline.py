"""Great Expectations' pages made to work without a network: what they load from elsewhere lies beside them instead.

Great Expectations 1.24 takes its styles and scripts from content networks and its logo from a bucket, so that its pages
are unstyled offline, and its index shows no rows at all. Drop this when its templates bring their own.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

STAND_INS = {
    "all.min.css": "icons.css",  # an icon font of which four characters are used
    "bootstrap-table-filter-control.css": "bootstrap-table-filter-control.min.css",
}
"""Files that are served by another than their namesake."""

_REMOTE = r"(?:https?:)?//[^\"'\s>]+"
_SCRIPT = re.compile(rf"<script\b[^>]*\bsrc=[\"'](?P<url>{_REMOTE})[\"'][^>]*>\s*</script>", re.IGNORECASE)
_LINK = re.compile(rf"<link\b[^>]*\bhref=[\"'](?P<url>{_REMOTE})[\"'][^>]*/?>", re.IGNORECASE)
_IMAGE = re.compile(rf"<img\b[^>]*\bsrc=[\"']{_REMOTE}[\"'][^>]*/?>", re.IGNORECASE)
_STYLE_URL = re.compile(rf"url\(\s*[\"']?{_REMOTE}[\"']?\s*\)", re.IGNORECASE)
_IMPORT = re.compile(rf"@import\s+[\"']{_REMOTE}[\"'][^;]*;", re.IGNORECASE)
_ICON = re.compile(r"<link\b[^>]*\brel=[\"'](?:shortcut )?icon[\"'][^>]*/?>", re.IGNORECASE)
_NEWSLETTER = re.compile(r"<footer>.*?</footer>", re.IGNORECASE | re.DOTALL)
_ANCHOR = re.compile(rf"<a\b[^>]*\bhref=[\"']{_REMOTE}[\"'][^>]*>(?P<text>.*?)</a>", re.IGNORECASE | re.DOTALL)
_LOADED = re.compile(
    rf"<(?:script|img|iframe|source|embed|object|audio|video|link)\b[^>]*\b(?:src|href|data)=[\"']?({_REMOTE})"
    rf"|url\(\s*[\"']?({_REMOTE})|@import\s+[\"']({_REMOTE})",
    re.IGNORECASE,
)


def localise(page: str, to_assets: str, assets: Collection[str]) -> str:
    """A page that loads its styles and scripts from `to_assets`, and nothing from anywhere else. Pure.

    What has no namesake there is left out: the charts' scripts (our suites draw none), the newsletter, the
    logo, the icon.

    Args:
        page: HTML as Great Expectations writes it.
        to_assets: the way from the page to the folder of assets, ending in a slash.
        assets: the names of the files there.
    """

    def here(url: str) -> str | None:
        name = url.partition("?")[0].rpartition("/")[2]
        name = STAND_INS.get(name, name)
        return to_assets + name if name in assets else None

    def script(match: re.Match[str]) -> str:
        src = here(match["url"])
        return f'<script src="{src}"></script>' if src else ""

    def link(match: re.Match[str]) -> str:
        href = here(match["url"])
        return f'<link rel="stylesheet" href="{href}">' if href else ""

    page = _SCRIPT.sub(script, page)
    page = _LINK.sub(link, page)
    page = _IMAGE.sub("<strong>Data docs</strong>", page)
    page = _STYLE_URL.sub("none", page)
    page = _IMPORT.sub("", page)
    page = _ICON.sub("", page)  # it lies among megabytes of pictures that no page shows
    page = _NEWSLETTER.sub("", page)
    return _ANCHOR.sub(lambda match: match["text"], page)


def loads_from_elsewhere(page: str) -> list[str]:
    """The addresses on other hosts that a browser would fetch to show a page (links to click are not among them)."""
    return [next(filter(None, match.groups())) for match in _LOADED.finditer(page)]


def free(site: Path, assets: Path, to_assets: str) -> list[str]:
    """Localise every page below `site`; what is still loaded from elsewhere, page by page.

    Args:
        site: the folder that Great Expectations built.
        assets: the folder whose files stand in, to look at their names.
        to_assets: the way from `site` to where these files will be served, ending in a slash.
    """
    names = {each.name for each in assets.iterdir()}
    left = []
    for path in sorted(site.rglob("*.html")):
        up = "../" * (len(path.relative_to(site).parts) - 1)
        page = localise(path.read_text(encoding="utf-8"), up + to_assets, names)
        path.write_text(page, encoding="utf-8")
        left += [f"{path.relative_to(site)}: {url}" for url in loads_from_elsewhere(page)]
    return left
