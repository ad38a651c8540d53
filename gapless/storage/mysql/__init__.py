"""MySQL and MariaDB: the hot bars and the books.

`MySql(url)` is a database; `upgrade(db)` makes its schema; `load_bars` is the only way bars get in, `read_bars` the
way out.
"""

from gapless.storage.mysql.loader import Outcome, load_bars
from gapless.storage.mysql.reader import read_bars
from gapless.storage.mysql.receipts import Counts, Coverage, Draft, Scope, load_coverage
from gapless.storage.mysql.refused import RefusedRow, record_quarantine
from gapless.storage.mysql.restatements import log_lake_restatements
from gapless.storage.mysql.schema import UpgradeReport, schema_revision, upgrade
from gapless.storage.mysql.server import Dialect, MySql

__all__ = [
    "Counts",
    "Coverage",
    "Dialect",
    "Draft",
    "MySql",
    "Outcome",
    "RefusedRow",
    "Scope",
    "UpgradeReport",
    "load_bars",
    "load_coverage",
    "log_lake_restatements",
    "read_bars",
    "record_quarantine",
    "schema_revision",
    "upgrade",
]
