"""The books as SQLAlchemy tables, for queries. The schema itself is made by the files of `include/sql/ddl`.

Nothing here is peculiar to MySQL but types' variants (character sets, unsigned), so that a small installation can keep
its books elsewhere one day. A test holds these definitions and the migrated schema equal on both servers. All times are
naive UTC.
"""

from __future__ import annotations

from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Double,
    Index,
    Integer,
    MetaData,
    Numeric,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.types import CHAR, TypeEngine

from gapless.domain.window import from_ms, to_ms

_SERVERS = ("mysql", "mariadb")


def _ascii(length: int) -> TypeEngine[str]:
    variant = mysql.VARCHAR(length, charset="ascii", collation="ascii_bin")
    return String(length).with_variant(variant, *_SERVERS)


def _hex(length: int) -> TypeEngine[str]:
    return CHAR(length).with_variant(mysql.CHAR(length, charset="ascii", collation="ascii_bin"), *_SERVERS)


def _id() -> TypeEngine[int]:
    return BigInteger().with_variant(mysql.BIGINT(unsigned=True), *_SERVERS)


def _serial() -> TypeEngine[int]:
    return BigInteger().with_variant(Integer(), "sqlite")


def _moment() -> TypeEngine[datetime]:
    return DateTime().with_variant(mysql.DATETIME(fsp=3), *_SERVERS)


def _long_text() -> TypeEngine[str]:
    return Text().with_variant(mysql.MEDIUMTEXT(), *_SERVERS)


_OPTIONS: dict[str, Any] = {
    f"{server}_{option}": value
    for server in _SERVERS
    for option, value in (("engine", "InnoDB"), ("default_charset", "utf8mb4"), ("collate", "utf8mb4_bin"))
}

metadata = MetaData()


def _column(name: str, kind: TypeEngine[Any], **options: Any) -> Column[Any]:
    return Column(name, kind, **{"nullable": False, "autoincrement": False, **options})


installation = Table(
    "installation",
    metadata,
    _column("id", SmallInteger().with_variant(mysql.TINYINT(), *_SERVERS), primary_key=True),
    _column("origin", String(64)),
    _column("created_at", _moment()),
    **_OPTIONS,
)

instrument = Table(
    "instrument",
    metadata,
    _column("exchange", _ascii(16), primary_key=True),
    _column("symbol", String(32), primary_key=True),
    _column("market", _ascii(8)),
    _column("raw_symbol", String(32)),
    _column("base", String(32)),
    _column("quote", String(32)),
    _column("status", _ascii(32)),
    _column("tick_size", Numeric(38, 18), nullable=True),
    _column("step_size", Numeric(38, 18), nullable=True),
    _column("contract_multiplier", BigInteger()),
    _column("listed_at", _moment(), nullable=True),
    _column("delisted_at", _moment(), nullable=True),
    _column("seen_at", _moment()),
    **_OPTIONS,
)

instrument_life = Table(
    "instrument_life",
    metadata,
    _column("exchange", _ascii(16), primary_key=True),
    _column("symbol", String(32), primary_key=True),
    _column("listed_at", _moment(), primary_key=True),
    _column("raw_symbol", String(32)),
    _column("delisted_at", _moment(), nullable=True),
    **_OPTIONS,
)

load_receipt = Table(
    "load_receipt",
    metadata,
    _column("id", _id(), primary_key=True),
    _column("batch_key", _hex(16)),
    _column("ordinal", Integer()),
    _column("dataset", _ascii(32)),
    _column("exchange", _ascii(16)),
    _column("market", _ascii(8)),
    _column("scope", _hex(64)),
    _column("window_start", _moment()),
    _column("window_end", _moment()),
    _column("complete", Boolean()),
    _column("rows", BigInteger()),
    _column("loaded", BigInteger()),
    _column("restated", BigInteger()),
    _column("unchanged", BigInteger()),
    _column("outranked", BigInteger()),
    _column("quarantined", BigInteger()),
    _column("digest", _hex(64)),
    _column("loaded_at", _moment()),
    _column("archived_at", _moment(), nullable=True),
    UniqueConstraint("batch_key", "ordinal", name="uq_load_receipt_batch"),
    Index("ix_load_receipt_window", "market", "window_end"),
    **_OPTIONS,
)

load_scope = Table(
    "load_scope",
    metadata,
    _column("scope", _hex(64), primary_key=True),
    _column("intervals", _ascii(128), primary_key=True),
    _column("symbols", _long_text()),
    **_OPTIONS,
)

archive_receipt = Table(
    "archive_receipt",
    metadata,
    _column("id", _id(), primary_key=True),
    _column("uri", String(512)),
    _column("dataset", _ascii(32)),
    _column("exchange", _ascii(16)),
    _column("interval", _ascii(8)),
    _column("period_start", _moment()),
    _column("rows", BigInteger()),
    _column("bytes", BigInteger()),
    _column("sha256", _hex(64)),
    _column("content_digest", _hex(64)),
    _column("state", _ascii(16)),
    _column("verified_at", _moment()),
    UniqueConstraint("uri", name="uq_archive_receipt_uri"),
    Index("ix_archive_receipt_period", "dataset", "exchange", "interval", "period_start"),
    **_OPTIONS,
)

archive_series = Table(
    "archive_series",
    metadata,
    _column("dataset", _ascii(32), primary_key=True),
    _column("exchange", _ascii(16), primary_key=True),
    _column("symbol", String(32), primary_key=True),
    _column("interval", _ascii(8), primary_key=True),
    _column("day", Date(), primary_key=True),
    _column("rows", BigInteger()),
    _column("sha256", _hex(64)),
    _column("archive_receipt_id", _id()),
    Index("ix_archive_series_receipt", "archive_receipt_id"),
    **_OPTIONS,
)

restatement = Table(
    "restatement",
    metadata,
    _column("id", _serial(), primary_key=True, autoincrement=True),
    _column("dataset", _ascii(32)),
    _column("exchange", _ascii(16)),
    _column("symbol", String(32)),
    _column("interval", _ascii(16)),
    _column("ts", _moment()),
    _column("store", _ascii(8)),
    _column("old_values", Text()),
    _column("new_values", Text()),
    _column("old_source", Integer()),
    _column("new_source", Integer()),
    _column("old_receipt_id", _id(), nullable=True),
    _column("receipt_id", _id(), nullable=True),
    _column("noticed_at", _moment()),
    _column("applied", Boolean(), server_default=text("1")),
    Index("ix_restatement_bar", "symbol", "interval", "ts", "exchange"),
    **_OPTIONS,
)

quarantine = Table(
    "quarantine",
    metadata,
    _column("id", _serial(), primary_key=True, autoincrement=True),
    _column("identity", _hex(64)),
    _column("dataset", _ascii(32)),
    _column("exchange", _ascii(16)),
    _column("symbol", String(64)),
    _column("interval", _ascii(8)),
    _column("ts", _moment(), nullable=True),
    _column("reason", String(64)),
    _column("detail", Text()),
    _column("payload", _long_text()),
    _column("batch_key", _hex(16)),
    _column("first_seen", _moment()),
    UniqueConstraint("identity", name="uq_quarantine_identity"),
    Index("ix_quarantine_bar", "symbol", "interval", "ts"),
    **_OPTIONS,
)

data_gap_log = Table(
    "data_gap_log",
    metadata,
    _column("id", _serial(), primary_key=True, autoincrement=True),
    _column("exchange", _ascii(16)),
    _column("symbol", String(32)),
    _column("dataset", _ascii(32)),
    _column("interval", _ascii(8)),
    _column("gap_start", _moment()),
    _column("gap_end", _moment()),
    _column("bars", BigInteger()),
    _column("attempts", Integer()),
    _column("state", _ascii(16)),
    _column("cause", Text()),
    _column("noticed_at", _moment()),
    _column("changed_at", _moment()),
    _column("page_sent_at", _moment(), nullable=True),
    _column("page_key", _ascii(64), nullable=True),
    _column("next_try_at", _moment(), nullable=True),
    UniqueConstraint("exchange", "symbol", "dataset", "interval", "gap_start", name="uq_data_gap_log_gap"),
    Index("ix_data_gap_log_state", "state"),
    **_OPTIONS,
)


archive_object = Table(
    "archive_object",
    metadata,
    _column("path", String(255), primary_key=True),
    _column("dataset", _ascii(32)),
    _column("exchange", _ascii(16)),
    _column("market", _ascii(8)),
    _column("symbol", String(32)),
    _column("raw_symbol", String(32)),
    _column("interval", _ascii(8)),
    _column("period", _ascii(8)),
    _column("period_start", Date()),
    _column("state", _ascii(16)),
    _column("checksum", _ascii(16)),
    _column("etag", String(128)),
    _column("bytes", BigInteger()),
    _column("sha256", _hex(64)),
    _column("rows", BigInteger()),
    _column("refused", BigInteger()),
    _column("first_ts", _moment(), nullable=True),
    _column("last_ts", _moment(), nullable=True),
    _column("parser_version", Integer()),
    _column("detail", Text()),
    _column("store", _ascii(8)),
    _column("checked_at", _moment()),
    _column("loaded_at", _moment(), nullable=True),
    Index("ix_archive_object_period", "dataset", "exchange", "market", "period_start"),
    Index("ix_archive_object_symbol", "symbol", "dataset", "exchange", "period_start"),
    **_OPTIONS,
)

series_month = Table(
    "series_month",
    metadata,
    _column("dataset", _ascii(32), primary_key=True),
    _column("exchange", _ascii(16), primary_key=True),
    _column("symbol", String(32), primary_key=True),
    _column("interval", _ascii(8), primary_key=True),
    _column("month", Date(), primary_key=True),
    _column("store", _ascii(8), primary_key=True),
    _column("market", _ascii(8)),
    _column("window_start", _moment()),
    _column("window_end", _moment()),
    _column("expected", BigInteger()),
    _column("present", BigInteger()),
    _column("unfillable", BigInteger()),
    _column("outside", BigInteger()),
    _column("state", _ascii(16)),
    _column("sources", _ascii(64)),
    _column("done_at", _moment()),
    Index("ix_series_month_month", "dataset", "exchange", "market", "month"),
    Index("ix_series_month_symbol", "symbol", "dataset", "exchange", "month"),
    **_OPTIONS,
)

page = Table(
    "page",
    metadata,
    _column("page_key", _ascii(64), primary_key=True),
    _column("kind", _ascii(16)),
    _column("summary", Text()),
    _column("detail", _long_text()),
    _column("state", _ascii(16)),
    _column("created_at", _moment()),
    _column("sent_at", _moment(), nullable=True),
    _column("resolved_at", _moment(), nullable=True),
    Index("ix_page_state", "state"),
    **_OPTIONS,
)

review = Table(
    "review",
    metadata,
    _column("id", _serial(), primary_key=True, autoincrement=True),
    _column("identity", _hex(64)),
    _column("dataset", _ascii(32)),
    _column("exchange", _ascii(16)),
    _column("symbol", String(32)),
    _column("interval", _ascii(8)),
    _column("ts", _moment()),
    _column("rule", _ascii(32)),
    _column("measured", String(64)),
    _column("allowed", String(64)),
    _column("detail", Text()),
    _column("row_values", Text()),
    _column("state", _ascii(16)),
    _column("noticed_at", _moment()),
    _column("decided_at", _moment(), nullable=True),
    _column("decided_by", String(64)),
    _column("note", Text()),
    UniqueConstraint("identity", name="uq_review_identity"),
    Index("ix_review_state", "state"),
    **_OPTIONS,
)

check_run = Table(
    "check_run",
    metadata,
    _column("identity", _hex(64), primary_key=True),
    _column("kind", _ascii(32)),
    _column("dataset", _ascii(32)),
    _column("window_start", _moment()),
    _column("window_end", _moment()),
    _column("state", _ascii(16)),
    _column("result", _long_text()),
    _column("link", Text()),
    _column("started_at", _moment()),
    _column("finished_at", _moment()),
    Index("ix_check_run_kind", "kind", "finished_at"),
    **_OPTIONS,
)

counter = Table(
    "counter",
    metadata,
    _column("name", _ascii(64), primary_key=True),
    _column("labels", String(191), primary_key=True),
    _column("total", BigInteger()),
    **_OPTIONS,
)

month_export = Table(
    "month_export",
    metadata,
    _column("dataset", _ascii(32), primary_key=True),
    _column("month", Date(), primary_key=True),
    _column("round", Integer(), primary_key=True),
    _column("state", _ascii(16)),
    _column("mark", _ascii(64)),
    _column("rows", BigInteger()),
    _column("series", BigInteger()),
    _column("beside", BigInteger()),
    _column("outranked", BigInteger()),
    _column("table_bytes", BigInteger()),
    _column("bytes", BigInteger()),
    _column("files", Integer()),
    _column("written", Integer()),
    _column("digest", _hex(64)),
    _column("manifest_uri", String(512)),
    _column("copy_seconds", Double()),
    _column("verify_seconds", Double()),
    _column("begun_at", _moment()),
    _column("verified_at", _moment(), nullable=True),
    _column("dropped_at", _moment(), nullable=True),
    _column("hold_until", _moment(), nullable=True),
    Index("ix_month_export_state", "state"),
    **_OPTIONS,
)

liquidation = Table(
    "liquidation",
    metadata,
    _column("exchange", _ascii(16), primary_key=True),
    _column("symbol", String(32), primary_key=True),
    _column("ts", _moment(), primary_key=True),
    _column("sequence", Integer(), primary_key=True),
    _column("side", _ascii(8)),
    _column("order_type", _ascii(32)),
    _column("time_in_force", _ascii(16)),
    _column("quantity", Numeric(28, 8)),
    _column("price", Numeric(20, 8)),
    _column("average_price", Numeric(20, 8)),
    _column("status", _ascii(32)),
    _column("last_quantity", Numeric(28, 8)),
    _column("accumulated_quantity", Numeric(28, 8)),
    _column("event_at", _moment()),
    _column("received_at", _moment()),
    _column("identity", _hex(64)),
    UniqueConstraint("identity", name="uq_liquidation_identity"),
    Index("ix_liquidation_ts", "ts"),
    **_OPTIONS,
)


def moment(at_ms: int) -> datetime:
    """The stored form of a time: naive UTC."""
    return from_ms(at_ms).replace(tzinfo=None)


def moment_or_none(at_ms: int | None) -> datetime | None:
    return None if at_ms is None else moment(at_ms)


def ms_of(stored: datetime) -> int:
    """Milliseconds of a stored time."""
    return to_ms(stored.replace(tzinfo=UTC))


def stable_id(*parts: object) -> int:
    """A 63-bit id that follows from what it names: the first bits of sha256 over the parts, separated by NUL."""
    digest = sha256("\0".join(str(part) for part in parts).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
