"""`include/retention.yaml`, read and checked, with what the environment says filled in."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import msgspec

from gapless.config import Settings
from gapless.domain.datasets import Dataset
from gapless.domain.retention import HotMonths, KeptSome, RetentionRules, hot_months_of
from gapless.domain.window import hot_since_ms
from gapless.errors import ConfigError
from gapless.pipeline.yaml_rules import parse_rules


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
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not YAML: {error}") from None
    return parse_rules(text, RetentionRules, where=str(path), example="include/retention.yaml")
