"""Which settings the stack gives (`var/gapless.env`), and which the user's own settings leave to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gapless.config import Settings
from gapless.stack.layout import Layout, Mode
from gapless.stack.ports import LOOPBACK

DATABASES: dict[Mode, str] = {"real": "gapless", "demo": "gapless_demo"}
MYSQL_USER = "gapless"
DEMO_SEED = 7
"""The seed of the demonstration's market: everybody who runs it sees the same one."""


@dataclass(frozen=True, slots=True)
class Needs:
    """Which private servers a start needs: what the user has elsewhere is not started here."""

    mariadb: bool
    redis: bool
    replica: bool


def needs(user: Settings, mode: Mode) -> Needs:
    """What to start for what the user alone has set.

    A demonstration never touches a database, Redis or lake that the user has named: generated data stays apart.
    """
    demo = mode == "demo"
    return Needs(mariadb=demo or user.mysql_url is None, redis=demo or user.redis_url is None, replica=demo)


def stack_values(
    layout: Layout,
    mode: Mode,
    wanted: Needs,
    *,
    mysql_url: str | None,
    redis_url: str | None,
    replica_url: str | None,
    replica_um_streams: str | None = None,
) -> dict[str, str]:
    """The variables the stack sets, for `var/gapless.env` and for its services, where they override everything.

    Args:
        mysql_url: of the private MariaDB and the mode's own database.
        redis_url: of the private Redis, without a database number.
        replica_url: base of the private replica, in a demonstration.
        replica_um_streams: where it serves the streams of USD-M, whose paths are also spot's.
    """
    values: dict[str, str] = {"GAPLESS_MODE": mode}
    if wanted.mariadb and mysql_url:
        values["GAPLESS_MYSQL_URL"] = mysql_url
    if wanted.redis and redis_url:
        live, control = (2, 3) if mode == "demo" else (0, 1)
        values["GAPLESS_REDIS_URL"] = f"{redis_url}/{live}"
        values["GAPLESS_REDIS_CONTROL_URL"] = f"{redis_url}/{control}"
    if wanted.replica and replica_url:
        socket_url = replica_url.replace("http://", "ws://")
        values |= {
            "GAPLESS_LAKE_URI": f"file://{layout.home('demo')}/lake",
            "GAPLESS_BINANCE_SPOT_REST_URL": replica_url,
            "GAPLESS_BINANCE_UM_REST_URL": replica_url,
            # No request of a demonstration may leave the machine, whatever a later command asks for.
            "GAPLESS_BINANCE_VISION_URL": f"{replica_url}/vision",
            "GAPLESS_BINANCE_VISION_LIST_URL": "",
            "GAPLESS_BINANCE_SPOT_WS_URL": socket_url,
            "GAPLESS_BINANCE_UM_WS_URL": replica_um_streams or socket_url,
        }
    return values


def env_file_text(values: Mapping[str, str]) -> str:
    """The values as a `.env` file."""
    head = "# Written by `gapless up`: what the stack gives. Your own settings belong in the environment or .env.\n"
    return head + "".join(f"{name}='{value}'\n" for name, value in values.items())


def replica_url(port: int) -> str:
    return f"http://{LOOPBACK}:{port}"
