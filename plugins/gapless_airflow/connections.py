"""Settings as a task sees them: the environment first, then Airflow's connections.

The connections are `gapless_mysql`, `gapless_redis` and `gapless_lake`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Protocol
from urllib.parse import quote, unquote, urlsplit

from pydantic import SecretStr

from gapless.config import Settings, load_settings
from gapless.errors import ConfigError


class Connection(Protocol):
    """The fields of an Airflow connection that are read here."""

    conn_type: str | None
    host: str | None
    login: str | None
    password: str | None
    schema: str | None
    port: int | None
    extra: str | None


Lookup = Callable[[str], Connection | None]
"""A connection by its id, or None when there is none."""


def task_settings(lookup: Lookup | None = None) -> Settings:
    """The settings of this task; what environment, `.env` and native start leave unset is taken from connections.

    A connection is asked for only when its setting is unset, so an installation that uses the environment pays
    nothing. Every secret found is handed to Airflow's masker, so that it cannot show in a log even inside somebody
    else's error message.

    Args:
        lookup: finds a connection; Airflow's own unless given.

    Raises:
        ConfigError: a setting or a connection is wrong; the message names it.
    """
    find = lookup or _airflow_connection
    base = load_settings()
    given = base.model_fields_set
    extra: dict[str, object] = {}
    for field, conn_id, read in _SOURCES:
        if field not in given and (connection := find(conn_id)) is not None:
            extra.update({name: value for name, value in read(connection).items() if name not in given})
    found = load_settings(**extra) if extra else base  # type: ignore[arg-type]  # none of them is `native`
    for secret in secrets(found):
        _mask(secret)
    return found


def secrets(settings: Settings) -> list[str]:
    """Every secret text in the settings: the URLs' passwords (as written and decoded), the secret key, the pager's."""
    urls = (settings.mysql_url, settings.redis_url, settings.redis_control_url)
    quoted = [urlsplit(url.get_secret_value()).password for url in urls if url]
    passwords = [form for password in quoted if password for form in (password, unquote(password))]
    named = (settings.aws_secret_access_key, settings.pagerduty_routing_key)
    keys = [key.get_secret_value() for key in named if key]
    return [text for text in (*passwords, *keys) if text]


def mysql_settings(connection: Connection) -> dict[str, object]:
    """`mysql_url` of a connection of type `mysql`: host, port (3306), login, password, and the schema as database."""
    if not connection.host or not connection.schema:
        raise ConfigError("Airflow connection gapless_mysql needs a host and a schema (the database's name)")
    url = f"mysql://{_login(connection)}{connection.host}:{connection.port or 3306}/{connection.schema}"
    return {"mysql_url": SecretStr(url)}


def redis_settings(connection: Connection) -> dict[str, object]:
    """`redis_url` of a connection of type `redis`: host, port (6379), password; extra `{"db": 0, "ssl": false}`."""
    if not connection.host:
        raise ConfigError("Airflow connection gapless_redis needs a host")
    extra = _extra(connection, "gapless_redis")
    scheme = "rediss" if extra.get("ssl") else "redis"
    url = f"{scheme}://{_login(connection)}{connection.host}:{connection.port or 6379}/{extra.get('db', 0)}"
    return {"redis_url": SecretStr(url)}


def lake_settings(connection: Connection) -> dict[str, object]:
    """The lake of a connection of type `aws`: login and password are the keys; extra names `lake_uri` and, if need be,
    `endpoint_url` and `region_name`."""
    extra = _extra(connection, "gapless_lake")
    if not extra.get("lake_uri"):
        raise ConfigError('Airflow connection gapless_lake needs an extra {"lake_uri": "s3://bucket/prefix"}')
    values = {
        "lake_uri": extra["lake_uri"],
        "s3_endpoint_url": extra.get("endpoint_url"),
        "aws_region": extra.get("region_name"),
        "aws_access_key_id": SecretStr(connection.login) if connection.login else None,
        "aws_secret_access_key": SecretStr(connection.password) if connection.password else None,
    }
    return {name: value for name, value in values.items() if value is not None}


_SOURCES = (
    ("mysql_url", "gapless_mysql", mysql_settings),
    ("redis_url", "gapless_redis", redis_settings),
    ("lake_uri", "gapless_lake", lake_settings),
)


def _login(connection: Connection) -> str:
    if not connection.login and not connection.password:
        return ""
    password = f":{quote(connection.password, safe='')}" if connection.password else ""
    return f"{quote(connection.login or '', safe='')}{password}@"


def _extra(connection: Connection, conn_id: str) -> Mapping[str, Any]:
    try:
        extra = json.loads(connection.extra or "{}")
    except ValueError:
        raise ConfigError(f"Airflow connection {conn_id} has an extra that is not JSON") from None
    if not isinstance(extra, dict):
        raise ConfigError(f"Airflow connection {conn_id} has an extra that is not a JSON object")
    return extra


def _airflow_connection(conn_id: str) -> Connection | None:
    from airflow.sdk import BaseHook
    from airflow.sdk.exceptions import AirflowNotFoundException

    try:
        found: Connection = BaseHook.get_connection(conn_id)
    except AirflowNotFoundException:
        return None
    return found


def _mask(secret: str) -> None:
    from airflow.sdk.log import mask_secret

    mask_secret(secret)
