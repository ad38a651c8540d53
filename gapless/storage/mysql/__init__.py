"""MySQL and MariaDB: the hot bars and the books.

`MySql(url)` is a database; `upgrade(db)` makes its schema; `load_bars` is the only way bars get in, `read_bars` the
way out.
"""

from gapless.storage.mysql.archive import put_archive_receipts
from gapless.storage.mysql.instruments import read_instruments, read_lives, record_listing
from gapless.storage.mysql.lives import Life
from gapless.storage.mysql.loader import Outcome, load_bars
from gapless.storage.mysql.origin import claim_origin, read_origin
from gapless.storage.mysql.reader import read_bars
from gapless.storage.mysql.receipts import Counts, Coverage, Draft, Scope, load_coverage
from gapless.storage.mysql.refused import RefusedRow, record_quarantine
from gapless.storage.mysql.restatements import log_lake_restatements
from gapless.storage.mysql.schema import UpgradeReport, schema_revision, upgrade
from gapless.storage.mysql.server import Dialect, MySql
from gapless.storage.mysql.summary import (
    MarketRows,
    SeriesRows,
    count_markets,
    count_quarantined,
    count_restatements,
    count_series,
)

__all__ = [
    "Counts",
    "Coverage",
    "Dialect",
    "Draft",
    "Life",
    "MarketRows",
    "MySql",
    "Outcome",
    "RefusedRow",
    "Scope",
    "SeriesRows",
    "UpgradeReport",
    "claim_origin",
    "count_markets",
    "count_quarantined",
    "count_restatements",
    "count_series",
    "load_bars",
    "load_coverage",
    "log_lake_restatements",
    "put_archive_receipts",
    "read_bars",
    "read_instruments",
    "read_lives",
    "read_origin",
    "record_listing",
    "record_quarantine",
    "schema_revision",
    "upgrade",
]
