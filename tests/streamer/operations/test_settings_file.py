"""The sidecar's settings file: what stands in it is true, and what is wrong in it is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from gapless.config import project_root
from gapless.errors import ConfigError
from streamer.operations.settings_file import StreamerSettings, load_options, parse_options
from tests.streamer.operations.settings_text import rendered

FILE = project_root() / "include" / "exchanges.yaml"


def test_the_file_that_comes_with_it_says_every_default_and_what_it_means() -> None:
    assert FILE.read_text() == rendered(), (
        "python -m tests.streamer.operations.settings_text > include/exchanges.yaml brings it up to date"
    )


def test_the_file_that_comes_with_it_is_what_holds_without_it(tmp_path: Path) -> None:
    assert load_options(FILE, named=True) == StreamerSettings()
    assert load_options(tmp_path / "none.yaml") == StreamerSettings()


def test_a_file_that_was_named_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file; GAPLESS_EXCHANGES_FILE"):
        load_options(tmp_path / "none.yaml", named=True)


def test_a_section_without_keys_and_an_empty_file_are_the_defaults() -> None:
    assert parse_options("operations:\nbooks:\n", where="f") == StreamerSettings()
    assert parse_options("", where="f") == StreamerSettings()


def test_a_value_is_taken() -> None:
    found = parse_options("operations: {port: null, channels: [trades]}\nbooks: {depth: 500}", where="f")
    assert (found.operations.port, found.operations.channels, found.books.depth) == (None, ("trades",), 500)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("operation: {}", "operation is not known"),
        ("operations: {prot: 1}", "operations.prot is not known"),
        ("operations: {port: many}", "operations.port is wrong: write a whole number, or null, got"),
        ("operations: {follow_s: 0}", "operations.follow_s is wrong: write a number > 0"),
        ("operations: [1]", "operations is wrong: write keys and values below it"),
        ("- 1", "the file is wrong: write keys and values below it"),
        ("books: {depth: '1000'}", "books.depth is wrong: write a whole number"),
        ("a: b: c", "not YAML"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_with_file_and_key(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse_options(text, where="/etc/exchanges.yaml")
    message = str(error.value)
    assert message.startswith("/etc/exchanges.yaml: ")
    assert said in message
    assert "\n" not in message
