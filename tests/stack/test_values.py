"""What the stack gives, what it leaves to the user, and how a demonstration is kept apart."""

from __future__ import annotations

from pathlib import Path

import pytest

from gapless.config import Settings, load_settings
from gapless.stack.environment import base_environment
from gapless.stack.layout import Layout, Mode
from gapless.stack.values import env_file_text, needs, stack_values

THEIRS = "mysql://them:pw@db.example:3306/prices"


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout.of(tmp_path, tmp_path / "var")


def given(layout: Layout, user: Settings, mode: Mode) -> dict[str, str]:
    return stack_values(
        layout,
        mode,
        needs(user, mode),
        mysql_url="mysql://gapless:x@127.0.0.1:21000/db",
        redis_url="redis://:y@127.0.0.1:21001",
        replica_url="http://127.0.0.1:21002",
        replica_um_streams="ws://127.0.0.1:21003",
    )


def test_nothing_set_means_private_servers(layout: Layout) -> None:
    values = given(layout, Settings(), "real")
    assert values.keys() == {
        "GAPLESS_MODE",
        "GAPLESS_MYSQL_URL",
        "GAPLESS_REDIS_URL",
        "GAPLESS_REDIS_CONTROL_URL",
    }


def test_servers_the_user_names_are_used_and_not_started(layout: Layout) -> None:
    user = Settings(mysql_url=THEIRS, redis_url="redis://r.example:6379/0")  # type: ignore[arg-type]
    assert not needs(user, "real").mariadb
    assert not needs(user, "real").redis
    assert given(layout, user, "real") == {"GAPLESS_MODE": "real"}


def test_a_demonstration_touches_nothing_the_user_names(layout: Layout) -> None:
    user = Settings(mysql_url=THEIRS, lake_uri="s3://their-lake", binance_um_rest_url="http://proxy.example")  # type: ignore[arg-type]
    values = given(layout, user, "demo")
    assert values["GAPLESS_MYSQL_URL"] != THEIRS
    assert values["GAPLESS_LAKE_URI"] == f"file://{layout.var}/demo/lake"
    assert values["GAPLESS_BINANCE_UM_REST_URL"] == "http://127.0.0.1:21002"


def test_a_demonstration_streams_each_market_from_its_own_place(layout: Layout) -> None:
    values = given(layout, Settings(), "demo")
    assert values["GAPLESS_BINANCE_SPOT_WS_URL"] == "ws://127.0.0.1:21002"
    assert values["GAPLESS_BINANCE_UM_WS_URL"] == "ws://127.0.0.1:21003"


def test_no_request_of_a_demonstration_leaves_the_machine(layout: Layout) -> None:
    values = given(layout, Settings(), "demo")
    addresses = {name for name in Settings.model_fields if name.startswith("binance_") and name.endswith("_url")}
    for name in addresses:
        value = values[f"GAPLESS_{name.upper()}"]
        assert value == "" or "//127.0.0.1:" in value


def test_the_modes_use_different_redis_databases(layout: Layout) -> None:
    real, demo = given(layout, Settings(), "real"), given(layout, Settings(), "demo")
    names = ("GAPLESS_REDIS_URL", "GAPLESS_REDIS_CONTROL_URL")
    assert not {real[name] for name in names} & {demo[name] for name in names}


def test_settings_read_what_the_stack_wrote_and_the_users_own_win(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout.var.mkdir()
    layout.env_file.write_text(env_file_text(given(layout, Settings(), "demo")))
    monkeypatch.setenv("GAPLESS_VAR_DIR", str(layout.var))
    settings = load_settings()
    assert settings.mode == "demo"
    assert settings.lake == f"file://{layout.var}/demo/lake"
    assert settings.vision_list_url is None
    monkeypatch.setenv("GAPLESS_MYSQL_URL", THEIRS)
    url = load_settings().mysql_url
    assert url is not None
    assert url.get_secret_value() == THEIRS
    assert load_settings(native=False).mode == "real"


def test_services_get_no_stranger_of_the_shells_environment(layout: Layout) -> None:
    shell = {
        "PATH": "/bin",
        "GITHUB_TOKEN": "secret",
        "AWS_REGION": "eu",
        "LC_ALL": "C",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    services = base_environment(shell, layout)
    assert "GITHUB_TOKEN" not in services
    assert "PYTHONDONTWRITEBYTECODE" not in services
    assert (services["AWS_REGION"], services["LC_ALL"]) == ("eu", "C")
    assert services["GAPLESS_STACK"] == layout.stack_id


def test_loopback_is_never_asked_through_a_proxy(layout: Layout) -> None:
    services = base_environment({"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": "intern"}, layout)
    assert services["NO_PROXY"] == services["no_proxy"] == "intern,127.0.0.1,localhost"
    assert "NO_PROXY" not in base_environment({}, layout)
