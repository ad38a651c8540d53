"""A test page: the way to each receiver, tried from end to end and left as it was."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import msgspec

from gapless.config import Settings
from gapless.errors import PagerError
from gapless.monitoring.page import TEST, Page
from gapless.monitoring.pager import receivers_of

_RUNBOOK = "docs/runbooks/gap.md"


class ReceiverTest(msgspec.Struct, frozen=True):
    """What became of the test page at one receiver; `error` is empty when it was taken and resolved."""

    receiver: str
    sent: bool
    resolved: bool
    error: str = ""


def try_receivers(
    settings: Settings, *, source: str, hold_s: float = 0.0, sleep: Callable[[float], None] = time.sleep
) -> list[ReceiverTest]:
    """Send a test page to every configured receiver, and resolve it; nothing is put on record.

    The key is the same at every test, so that a test which was cut short is resolved by the next one.

    Args:
        hold_s: how long the page stays open. Alertmanager passes nothing on that is over before its `group_wait` is.

    Raises:
        ConfigError: the address of a receiver is wrong.
    """
    receivers = receivers_of(settings)
    page = Page(
        key="gapless-test",
        kind=TEST,
        summary="Gapless: a test page, nothing needs to be done",
        source=source,
        component="pager",
        group="test",
        facts={"why": "somebody ran `gapless pages test`; it resolves itself"},
        link="",
        runbook=_RUNBOOK,
        since_ms=_now_ms(),
    )
    sent = {each.name: _problem(partial(each.trigger, page, _now_ms())) for each in receivers}
    if hold_s and not all(sent.values()):
        sleep(hold_s)
    results = []
    for each in receivers:
        # Resolved even where the sending failed: its answer may have been lost on the way.
        ended = _problem(partial(each.resolve, page, _now_ms()))
        results.append(ReceiverTest(each.name, not sent[each.name], not ended, sent[each.name] or ended))
    return results


def _problem(say: Callable[[], None]) -> str:
    try:
        say()
    except PagerError as error:
        return str(error)
    return ""


def _now_ms() -> int:
    return int(time.time() * 1000)
