"""Who is paged: the receivers that the settings name."""

from __future__ import annotations

from gapless.config import Settings
from gapless.monitoring.alertmanager import Alertmanager
from gapless.monitoring.page import Receiver
from gapless.monitoring.pagerduty import PagerDuty

NOBODY = "nobody is paged: set GAPLESS_PAGERDUTY_ROUTING_KEY or GAPLESS_ALERTMANAGER_URL"


def receivers_of(settings: Settings) -> list[Receiver]:
    """The receivers that are configured; none is an answer too."""
    found: list[Receiver] = []
    if settings.pagerduty_routing_key is not None:
        found.append(PagerDuty(settings.pagerduty_url, settings.pagerduty_routing_key.get_secret_value()))
    if settings.alertmanager_url is not None:
        found.append(Alertmanager(settings.alertmanager_url))
    return found
