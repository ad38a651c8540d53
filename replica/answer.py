"""What the exchange sends back, and what befalls it on the way."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Answer:
    """An HTTP answer.

    Attributes:
        rows: the bars in the body, as JSON text, where it is a list of bars.
        delay_ms: how long it is held back.
        hang_s: how long the connection stays silent before it is reset; None for not at all.
        reset_after: after so many bytes of the body the connection is reset; None for not at all.
        bytes_per_s: how fast the body is sent, in real time; None for at once.
    """

    status: int
    body: bytes
    headers: dict[str, str]
    content_type: str = "application/json"
    rows: list[str] | None = None
    delay_ms: int = 0
    hang_s: float | None = None
    reset_after: int | None = None
    bytes_per_s: int | None = None

    def replaced(self, status: int, body: bytes, content_type: str | None = None) -> Answer:
        """Another answer under the same headers, held back as long."""
        kind = content_type or self.content_type
        return Answer(status, body, dict(self.headers), kind, delay_ms=self.delay_ms)


def rows_body(rows: list[str]) -> bytes:
    """Rows as the JSON array that the exchange sends."""
    return f"[{','.join(rows)}]".encode()
