"""A page of the bucket's listing (S3 ListObjects, XML) as folders and keys. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from xml.etree import ElementTree

_NAMESPACE = "{http://s3.amazonaws.com/doc/2006-03-01/}"


@dataclass(frozen=True, slots=True)
class ListPage:
    """Attributes: `folders` (common prefixes), `keys`, and `next_marker`, what to ask behind; None on the last page."""

    folders: tuple[str, ...]
    keys: tuple[str, ...]
    next_marker: str | None


def parse_listing(body: bytes) -> ListPage:
    """Read one page (reference 10.4). Where more follows and no marker is named, the last name is the marker, as in S3.

    Raises:
        ValueError: this is no listing.
    """
    if b"<!DOCTYPE" in body or b"<!ENTITY" in body:
        raise ValueError("a listing declares no document type")
    try:
        root = ElementTree.fromstring(body)  # noqa: S314 (no document type, so no entities to blow up)
    except ElementTree.ParseError as error:
        raise ValueError(f"no XML: {error}") from None
    if root.tag.removeprefix(_NAMESPACE) != "ListBucketResult":
        raise ValueError(f"a {root.tag} is no listing")
    folders = _texts(root, "CommonPrefixes", "Prefix")
    keys = _texts(root, "Contents", "Key")
    if root.findtext(f"{_NAMESPACE}IsTruncated", "") != "true":
        return ListPage(folders, keys, None)
    named = root.findtext(f"{_NAMESPACE}NextMarker") or max((*folders, *keys), default="")
    if not named:
        raise ValueError("a page without names that says more follow")
    return ListPage(folders, keys, named)


def _texts(root: ElementTree.Element, outer: str, inner: str) -> tuple[str, ...]:
    return tuple(each.text or "" for each in root.iterfind(f"{_NAMESPACE}{outer}/{_NAMESPACE}{inner}"))
