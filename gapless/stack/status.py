"""What `gapless status` tells, as values."""

from __future__ import annotations

import msgspec

from gapless.stack.layout import Mode


class Budget(msgspec.Struct, frozen=True):
    """One market's budget.

    Attributes:
        used_weight: in the newest minute of which anything is known.
        usable_weight: what all our processes together may use in a minute.
        halted_until: ISO time (UTC) until which nobody sends anything, None when nothing stands in the way; an empty
            string when the end is not known by the exchange's clock.
        halted_because: why.
    """

    market: str
    used_weight: int
    usable_weight: int
    halted_until: str | None
    halted_because: str


class ServiceStatus(msgspec.Struct, frozen=True):
    """One service as `gapless status` shows it."""

    name: str
    state: str
    pid: int | None
    url: str | None


class StackStatus(msgspec.Struct, frozen=True):
    """The stack at one moment.

    Attributes:
        mode: real or demo (generated data), None before the first start.
        unhealthy: Airflow's components that are not healthy, with what it says of them.
        login: the user of Airflow's page.
        password_file: where the login's password lies (mode 0600).
        budgets: how the request budgets stand, where somebody asked for it.
    """

    mode: Mode | None
    services: list[ServiceStatus]
    unhealthy: list[str]
    url: str | None
    login: str
    password_file: str | None
    budgets: list[Budget] = []
