"""`include/retention.yaml`, read and checked, with what the environment says filled in."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

import msgspec
import yaml

from gapless.config import Settings
from gapless.domain.datasets import Dataset
from gapless.domain.retention import HotMonths, KeptSome, RetentionRules, hot_months_of
from gapless.domain.window import hot_since_ms
from gapless.errors import ConfigError

_WHERE = re.compile(r"^(?P<why>.*?) - at `(\$\.?)?(?P<key>[^`]*)`( in `\$\.?(?P<section>[^`]*)`)?$")
_UNKNOWN = re.compile(r"contains unknown field `(?P<field>[^`]*)`")
_WORDS = {
    "`int | null`": "a whole number, or null",
    "`object | null`": "keys and values below it",
    "`object`": "keys and values below it",
    "`int`": "a whole number",
    "`str`": "text",
    "`array`": "a list",
    "`float`": "a fraction",
    "`bool`": "yes or no",
    "`null`": "nothing",
}


def load_rules(settings: Settings) -> RetentionRules:
    """The rules of `GAPLESS_RETENTION_FILE`, every value there: hot months of `GAPLESS_HOT_MONTHS` where the file names
    none, and `GAPLESS_REPORTS_DAYS`, if it is set, above the file's.

    Raises:
        ConfigError: the file is missing, not YAML, has an unknown key or a wrong value; one line names the key.
    """
    found = _read(settings.retention_file)
    hot = {str(dataset): hot_months_of(found, dataset) or settings.hot_months for dataset in Dataset}
    reports = KeptSome(days=settings.reports_days) if "reports_days" in settings.model_fields_set else found.reports
    return msgspec.structs.replace(found, hot_months=HotMonths(**hot), reports=reports)


def hot_since(settings: Settings, dataset: Dataset, now_ms: int) -> int:
    """The first moment of a table's oldest hot month: from then on its rows are MySQL's, those before are the lake's.

    Raises:
        ConfigError: the file of rules is wrong.
    """
    return hot_since_ms(now_ms, hot_months_of(load_rules(settings), dataset) or settings.hot_months)


def first_cold_border_ms(settings: Settings, now_ms: int) -> int:
    """The latest of all tables' `hot_since`: what ended before it has left MySQL's hot months, of one table at least.

    Raises:
        ConfigError: the file of rules is wrong.
    """
    return max(hot_since(settings, dataset, now_ms) for dataset in Dataset)


def _read(path: Path) -> RetentionRules:
    try:
        stat = path.stat()
        return _parsed(path, (stat.st_ino, stat.st_mtime_ns, stat.st_size))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; GAPLESS_RETENTION_FILE names the rules of retention") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None


@lru_cache(maxsize=8)
def _parsed(path: Path, version: tuple[int, ...]) -> RetentionRules:
    """The file as it is in that version. A survey asks once a series, and parsing takes a millisecond."""
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    if isinstance(document, dict):  # a section whose every key is commented out is read as null
        document = {key: value for key, value in document.items() if value is not None}
    try:
        return msgspec.convert({} if document is None else document, RetentionRules)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{path}: {_said(str(error))}") from None


def _said(message: str) -> str:
    """What is wrong, by the key as it stands in the file."""
    found = _WHERE.match(message)
    why, key, section = (found["why"], found["key"], found["section"]) if found else (message, "", None)
    unknown = _UNKNOWN.search(why)
    if unknown:
        name = f"{key}.{unknown['field']}" if key else unknown["field"]
        return f"{name or 'an empty key'} is not known; write one of the keys in include/retention.yaml, spelt as there"
    wanted = why.removeprefix("Expected ")
    for type_, words in _WORDS.items():
        wanted = wanted.replace(type_, words)
    if section is not None:
        return f"{section or 'the file'} is wrong: its keys are words"
    return f"{key or 'the file'} is wrong: write {wanted}"
