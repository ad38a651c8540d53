"""Settings of a task: the environment wins, Airflow's connections fill in."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gapless.errors import ConfigError

pytestmark = pytest.mark.usefixtures("airflow", "no_settings")


@dataclass
class Stored:
    conn_type: str | None = None
    host: str | None = None
    login: str | None = None
    password: str | None = None
    schema: str | None = None
    port: int | None = None
    extra: str | None = None


MYSQL = Stored("mysql", "db.internal", "md", "p@ss/word:1", "gapless", 3307)
REDIS = Stored("redis", "cache.internal", None, "r'edis", None, None, '{"db": 2}')
LAKE = Stored("aws", login="AKIAKEY", password="s3cret", extra='{"lake_uri": "s3://bucket/lake", "region_name": "eu"}')


@pytest.fixture
def no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing set: no variable, no .env, nothing written by a native start in this checkout."""
    for name in [n for n in os.environ if n.startswith(("GAPLESS_", "AWS_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setattr("gapless.config.project_root", lambda: tmp_path)


def settings(**connections: Stored) -> tuple[Any, list[str]]:
    from gapless_airflow.connections import task_settings

    asked: list[str] = []

    def lookup(conn_id: str) -> Stored | None:
        asked.append(conn_id)
        return connections.get(conn_id)

    return task_settings(lookup), asked


def test_connections_supply_what_is_unset() -> None:
    found, asked = settings(gapless_mysql=MYSQL, gapless_redis=REDIS, gapless_lake=LAKE)
    assert found.mysql_url.get_secret_value() == "mysql://md:p%40ss%2Fword%3A1@db.internal:3307/gapless"
    assert found.redis_url.get_secret_value() == "redis://:r%27edis@cache.internal:6379/2"
    assert found.lake == "s3://bucket/lake"
    assert found.aws_access_key_id.get_secret_value() == "AKIAKEY"
    assert found.aws_secret_access_key.get_secret_value() == "s3cret"
    assert found.aws_region == "eu"
    assert found.s3_endpoint_url is None
    assert asked == ["gapless_mysql", "gapless_redis", "gapless_lake"]


def test_the_environment_wins_and_the_connection_is_not_even_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAPLESS_MYSQL_URL", "mysql://env:pw@127.0.0.1:3306/other")
    monkeypatch.setenv("GAPLESS_LAKE_URI", "file:///srv/lake")
    found, asked = settings(gapless_mysql=MYSQL, gapless_redis=REDIS, gapless_lake=LAKE)
    assert found.mysql_url.get_secret_value() == "mysql://env:pw@127.0.0.1:3306/other"
    assert found.lake == "file:///srv/lake"
    assert asked == ["gapless_redis"]


def test_the_environments_keys_win_over_those_of_the_lakes_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of the environment")
    found, _ = settings(gapless_lake=LAKE)
    assert found.lake == "s3://bucket/lake"
    assert found.aws_secret_access_key.get_secret_value() == "of the environment"


def test_without_connections_the_defaults_stand() -> None:
    found, _ = settings()
    assert found.mysql_url is None
    assert found.lake.startswith("file://")


@pytest.mark.parametrize(
    ("conn_id", "stored", "said"),
    [
        ("gapless_mysql", Stored("mysql", "db"), "gapless_mysql needs a host and a schema"),
        ("gapless_redis", Stored("redis"), "gapless_redis needs a host"),
        ("gapless_lake", Stored("aws", login="k"), "gapless_lake needs an extra"),
        ("gapless_lake", Stored("aws", extra="[1]"), "gapless_lake has an extra that is not a JSON object"),
        ("gapless_redis", Stored("redis", "r", extra="{"), "gapless_redis has an extra that is not JSON"),
    ],
)
def test_a_half_filled_connection_is_named(conn_id: str, stored: Stored, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        settings(**{conn_id: stored})


def test_airflows_own_store_is_asked_and_a_missing_connection_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    from gapless_airflow.connections import task_settings

    monkeypatch.setenv("AIRFLOW_CONN_GAPLESS_MYSQL", "mysql://md:pw@db.internal:3306/gapless")
    found = task_settings()
    assert found.mysql_url is not None
    assert found.mysql_url.get_secret_value() == "mysql://md:pw@db.internal:3306/gapless"
    assert found.redis_url is None


def test_every_secret_goes_to_the_masker(monkeypatch: pytest.MonkeyPatch) -> None:
    masked: list[str] = []
    settings()  # imports the module
    monkeypatch.setattr(sys.modules["gapless_airflow.connections"], "_mask", masked.append)
    monkeypatch.setenv("GAPLESS_REDIS_URL", "redis://:of-the-environment@127.0.0.1/0")
    monkeypatch.setenv("GAPLESS_PAGERDUTY_ROUTING_KEY", "routing-key")
    settings(gapless_mysql=MYSQL, gapless_lake=LAKE)
    assert {"p%40ss%2Fword%3A1", "p@ss/word:1", "s3cret", "of-the-environment", "routing-key"} == set(masked)
