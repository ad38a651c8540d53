"""Where things lie, and who may read them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gapless.errors import ConfigError
from gapless.stack.keys import load_keys
from gapless.stack.layout import Layout
from gapless.stack.private_files import write_private
from gapless.stack.state import State, load_state, save_state


def test_two_checkouts_have_different_marks_and_one_keeps_its_own(tmp_path: Path) -> None:
    one, other = Layout.of(tmp_path, tmp_path / "a"), Layout.of(tmp_path, tmp_path / "b")
    assert one.stack_id != other.stack_id
    assert one.stack_id == Layout.of(tmp_path / ".", tmp_path / "b" / ".." / "a").stack_id


def test_the_control_socket_fits_the_kernels_limit_however_deep_the_checkout(tmp_path: Path) -> None:
    deep = Layout.of(tmp_path, tmp_path / ("d" * 90) / "var")
    assert len(os.fsencode(deep.supervisor_socket)) < 107
    deep.make()
    try:
        assert deep.supervisor_socket.parent.stat().st_mode & 0o777 == 0o700
        assert str(deep.supervisor_socket.parent) in deep.outside_file.read_text()
    finally:
        deep.supervisor_socket.parent.rmdir()


def test_the_two_modes_share_no_home(tmp_path: Path) -> None:
    layout = Layout.of(tmp_path, tmp_path / "var")
    assert layout.home("real") != layout.home("demo")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs PostgreSQL as another user")
def test_postgresql_of_root_lies_where_its_user_may_enter(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    (closed / "var").mkdir()
    assert Layout.of(closed, closed / "var").postgresql.is_relative_to("/var/lib/gapless")


def test_a_private_file_is_never_readable_by_others_and_says_whether_it_changed(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("old")
    file.chmod(0o644)
    assert write_private(file, "new")
    assert (file.read_text(), file.stat().st_mode & 0o777) == ("new", 0o600)
    assert not write_private(file, "new")


def test_keys_are_made_once_and_fit_into_urls_and_sql_unquoted(tmp_path: Path) -> None:
    keys = load_keys(tmp_path / "keys.json")
    assert load_keys(tmp_path / "keys.json") == keys
    for password in (keys.mysql, keys.redis, keys.postgresql, keys.airflow_metadata):
        assert password.isalnum()
        assert len(password) >= 32
    assert len(keys.airflow_jwt) >= 64


def test_damaged_keys_are_an_error_and_are_not_replaced(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    file.write_text("{")
    with pytest.raises(ConfigError, match="restore it"):
        load_keys(file)
    assert file.read_text() == "{"


def test_state_survives_and_damaged_state_is_a_clear_error(tmp_path: Path) -> None:
    file = tmp_path / "stack.json"
    state = State(mode="demo", ports={"redis": 21000}, migrated={"demo": "3.3.2"})
    save_state(file, state)
    assert load_state(file) == state
    file.write_text('{"mode": "other"}')
    with pytest.raises(ConfigError, match="remove it while the stack is down"):
        load_state(file)
