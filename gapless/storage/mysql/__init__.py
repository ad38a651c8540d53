"""MySQL and MariaDB: the hot bars and the books.

`MySql(url)` is a database; `schema.upgrade(db)` makes its schema; `load_rows` (`load_bars`) is the only way rows
get in, `read_rows` (`read_bars`) the way out.
"""

from gapless.storage.mysql.archive import put_archive_receipts
from gapless.storage.mysql.gap_states import Gap
from gapless.storage.mysql.gaps import read_gaps, record_gaps
from gapless.storage.mysql.instruments import (
    learn_lifetime,
    read_instruments,
    read_lives,
    record_archived,
    record_listing,
)
from gapless.storage.mysql.ledger import SeriesMonth, put_series_months, read_series_months
from gapless.storage.mysql.lives import Life
from gapless.storage.mysql.loader import Outcome, load_bars, load_rows
from gapless.storage.mysql.manifest import ManifestRow, put_manifest, read_manifest, touch_manifest
from gapless.storage.mysql.origin import claim_origin, read_origin
from gapless.storage.mysql.reader import read_bars, read_opens, read_rows
from gapless.storage.mysql.receipts import Counts, Coverage, Draft, Scope, load_coverage
from gapless.storage.mysql.refused import RefusedRow, record_quarantine
from gapless.storage.mysql.restatements import log_lake_restatements
from gapless.storage.mysql.server import Dialect, MySql
from gapless.storage.mysql.summary import (
    MarketRows,
    SeriesRows,
    count_days,
    count_markets,
    count_outranked,
    count_quarantined,
    count_restatements,
    count_series,
)

__all__ = [
    "Counts",
    "Coverage",
    "Dialect",
    "Draft",
    "Gap",
    "Life",
    "ManifestRow",
    "MarketRows",
    "MySql",
    "Outcome",
    "RefusedRow",
    "Scope",
    "SeriesMonth",
    "SeriesRows",
    "claim_origin",
    "count_days",
    "count_markets",
    "count_outranked",
    "count_quarantined",
    "count_restatements",
    "count_series",
    "learn_lifetime",
    "load_bars",
    "load_coverage",
    "load_rows",
    "log_lake_restatements",
    "put_archive_receipts",
    "put_manifest",
    "put_series_months",
    "read_bars",
    "read_gaps",
    "read_instruments",
    "read_lives",
    "read_manifest",
    "read_opens",
    "read_origin",
    "read_rows",
    "read_series_months",
    "record_archived",
    "record_gaps",
    "record_listing",
    "record_quarantine",
    "touch_manifest",
]
