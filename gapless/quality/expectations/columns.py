"""Rules that several books share."""

from __future__ import annotations

from gapless.domain.datasets import Dataset
from gapless.domain.stream_columns import STREAM_SHAPES
from gapless.quality.expectations.rules import Rows

DATASETS = ", ".join(f"'{dataset}'" for dataset in Dataset)
STREAMS = ", ".join(f"'{dataset}'" for dataset in STREAM_SHAPES)
INTERVALS = "'', '1m', '5m', '15m', '1h', '4h', '1d'"


def sha256(*columns: str) -> Rows:
    """Digests are written as such."""
    shown = ", ".join(f"{name} {{{name}}}" for name in columns)
    return Rows(
        "sha256",
        f"{' and '.join(columns)}: 64 hexadecimal digits",
        " OR ".join(f"{name} NOT REGEXP '^[0-9a-f]{{{{64}}}}$'" for name in columns),
        shown,
    )


def one_of(name: str, column: str, values: str, text: str) -> Rows:
    """A column has one of the listed values (SQL literals)."""
    quoted = column if column != "interval" else "`interval`"
    return Rows(name, text, f"{quoted} NOT IN ({values})", f"{column} is {{{column}}}")


def dataset() -> Rows:
    """The dataset is one of the three."""
    return one_of("dataset", "dataset", DATASETS, "the dataset is one that Gapless keeps")


def dataset_or_stream() -> Rows:
    """The dataset is one of the three, or one that is archived from the live Streams."""
    return one_of("dataset", "dataset", f"{DATASETS}, {STREAMS}", "the dataset is one that Gapless keeps")


def not_negative(text: str, *columns: str) -> Rows:
    """Counts are."""
    quoted = [f"`{name}`" for name in columns]
    return Rows(
        "counts",
        text,
        " OR ".join(f"{name} < 0" for name in quoted),
        ", ".join(f"{name} {{{name}}}" for name in columns),
    )
