"""S3's XML."""

from __future__ import annotations

from xml.sax.saxutils import escape

_HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n'
_REQUEST_ID = "GAPLESSREPLICA00"


def error_xml(code: str, message: str, **more: str) -> bytes:
    """An error body: code, message, and what else S3 names with it (`Key`)."""
    parts = {"Code": code, "Message": message, **more, "RequestId": _REQUEST_ID, "HostId": "replica"}
    return f"{_HEAD}<Error>{''.join(element(name, value) for name, value in parts.items())}</Error>".encode()


def element(name: str, text: str | int) -> str:
    """An element with text in it."""
    return f"<{name}>{escape(str(text))}</{name}>"
