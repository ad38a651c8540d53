"""What a fault does to one answer of the archive on its way: statuses as S3 sends them, cuts, delays."""

from __future__ import annotations

from replica.answer import Answer
from replica.fault_schema import Action, Error, Html, Reset, Status
from replica.faulting import LONGEST_HANG_S, PAGE, half
from replica.refusal import error_body
from replica.vision.xml import error_xml

_S3_ERRORS = {
    403: ("AccessDenied", "Access Denied"),
    404: ("NoSuchKey", "The specified key does not exist."),
    500: ("InternalError", "We encountered an internal error. Please try again."),
    503: ("SlowDown", "Please reduce your request rate."),
}


def delivered(answer: Answer, action: Action) -> Answer:
    """The answer after an action."""
    if action.status is not None:
        status = Status(action.status) if isinstance(action.status, int) else action.status
        return _status(answer, status)
    if action.error is not None:
        error = Error(action.error) if isinstance(action.error, int) else action.error
        return _bare(answer, error.status, error_body(error.code, error.msg), "application/json")
    if action.html:
        status_code = action.html.status if isinstance(action.html, Html) else Html().status
        return _bare(answer, status_code, PAGE.encode(), "text/html")
    if action.hang:
        answer.hang_s = LONGEST_HANG_S if action.hang is True else float(action.hang)
    elif action.reset:
        reset = action.reset if isinstance(action.reset, Reset) else Reset()
        answer.reset_after = int(len(answer.body) * reset.after)
    elif action.delay_ms is not None:
        answer.delay_ms += action.delay_ms
    elif action.slow_bytes_per_s is not None:
        answer.bytes_per_s = action.slow_bytes_per_s
    else:
        answer.body = half(answer.body, action)
    return answer


def _status(answer: Answer, status: Status) -> Answer:
    if status.code in _S3_ERRORS:
        spoilt = _bare(answer, status.code, error_xml(*_S3_ERRORS[status.code]), "application/xml")
    else:
        page = f"<html><body><h1>{status.code}</h1></body></html>"
        spoilt = _bare(answer, status.code, page.encode(), "text/html")
    if not isinstance(status.retry_after, bool):
        spoilt.headers["Retry-After"] = str(status.retry_after)
    return spoilt


def _bare(answer: Answer, status: int, body: bytes, kind: str) -> Answer:
    """Another answer without the object's headers, held back as long."""
    return Answer(status, body, {}, kind, delay_ms=answer.delay_ms, bytes_per_s=answer.bytes_per_s)
