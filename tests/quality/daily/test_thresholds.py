"""The file of thresholds: what it may say, and what is said of a wrong one."""

from __future__ import annotations

from pathlib import Path

import pytest

from gapless.config import include_dir
from gapless.errors import ConfigError
from gapless.quality.daily.thresholds import Thresholds, read_thresholds


def test_the_file_in_the_repository_shows_the_defaults_and_every_key() -> None:
    path = include_dir() / "quality.yaml"
    assert read_thresholds(path) == Thresholds()
    text = path.read_text(encoding="utf-8")
    sections = {name: getattr(Thresholds(), name) for name in Thresholds.__struct_fields__}
    keys = [*sections, *(key for section in sections.values() for key in section.__struct_fields__)]
    assert [key for key in keys if f"{key}:" not in text] == []


@pytest.mark.parametrize("text", ["", "# nothing\n", "jumps: {}\n", "jumps:\n  scales: 15\n"])
def test_what_is_left_out_has_its_default(tmp_path: Path, text: str) -> None:
    assert read_thresholds(written(tmp_path, text)) == Thresholds()


def test_a_whole_number_is_taken_where_a_fraction_may_stand(tmp_path: Path) -> None:
    assert read_thresholds(written(tmp_path, "agreement: {critical: 1}")).agreement.critical == 1.0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("jumpz: {}", "jumpz"),
        ("jumps: {scale: 15}", "scale"),
        ("jumps: {scales: many}", "jumps.scales"),
        ("jumps: {scales: -3}", "jumps.scales"),
        ("jumps: {scales: .nan}", "jumps.scales"),
        ("jumps: {near: 2.5}", "jumps.near"),
        ("jumps: {scales: true}", "jumps.scales"),
        ("jumps:", "jumps"),
        ("continuity: {relative: 0}", "continuity.relative"),
        ("activity: {days: 3, fewest_days: 4}", "fewest_days"),
        ("jumps: {neighbourhood: 10}", "fewest"),
        ("- jumps", "object"),
        ("just words", "object"),
        ("jumps: [", "not YAML"),
        ("jumps: \x00", "not YAML"),
    ],
)
def test_a_wrong_file_is_one_clear_error_that_names_it(tmp_path: Path, text: str, said: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ConfigError) as raised:
        read_thresholds(path)
    message = str(raised.value)
    assert message.startswith(str(path))
    assert said in message
    assert "\n" not in message


def test_a_missing_file_says_which_setting_names_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="GAPLESS_QUALITY_FILE"):
        read_thresholds(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_thresholds(tmp_path)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "quality.yaml"
    path.write_bytes(b"jumps: \xff\xfe")
    with pytest.raises(ConfigError, match="not YAML"):
        read_thresholds(path)


def written(folder: Path, text: str) -> Path:
    path = folder / "quality.yaml"
    path.write_text(text, encoding="utf-8")
    return path
