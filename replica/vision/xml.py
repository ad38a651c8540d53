"""S3's XML."""

from __future__ import annotations

from xml.sax.saxutils import escape

from replica.answer import Answer

NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
_HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n'
_REQUEST_ID = "GAPLESSREPLICA00"


def error_xml(code: str, message: str, **more: str) -> bytes:
    """An error body: code, message, and what else S3 names with it (`Key`)."""
    parts = {"Code": code, "Message": message, **more, "RequestId": _REQUEST_ID, "HostId": "replica"}
    return document("Error", "".join(element(name, value) for name, value in parts.items()))


def missing_key(key: str) -> Answer:
    """S3's 404."""
    return Answer(404, error_xml("NoSuchKey", "The specified key does not exist.", Key=key), {}, "application/xml")


def document(name: str, inner: str, namespace: str = "") -> bytes:
    """A whole document around XML made before."""
    stated = f' xmlns="{namespace}"' if namespace else ""
    return f"{_HEAD}<{name}{stated}>{inner}</{name}>".encode()


def element(name: str, text: str | int, inner: str = "") -> str:
    """An element with text in it, and behind that XML made before."""
    return f"<{name}>{escape(str(text))}{inner}</{name}>"
