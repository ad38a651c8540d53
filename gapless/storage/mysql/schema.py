"""Creates and migrates the schema, and says what the server lacks."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text

from gapless.domain.datasets import Dataset
from gapless.domain.window import to_ms
from gapless.errors import StorageError
from gapless.storage.mysql.faults import is_database_error
from gapless.storage.mysql.partitions import MONTHS_AHEAD, Month, ensure_months, month_range
from gapless.storage.mysql.server import Dialect, MySql

PARTITIONED = tuple(Dataset)
OLDEST = {"mariadb": (10, 6), "mysql": (8, 0, 19)}
TESTED = {"mariadb": (10, 11), "mysql": (8, 4)}
RECOMMENDED = "MariaDB 10.11+ or MySQL 8.4+"
_RIGHTS = ("SELECT", "INSERT", "UPDATE", "DELETE", "CREATE", "DROP", "ALTER", "INDEX")


@dataclass(frozen=True, slots=True)
class UpgradeReport:
    """What `upgrade` left.

    Attributes:
        revision: the schema's revision now.
        tables: its tables, by name.
        notes: what the server lacks, a sentence each; empty when nothing.
    """

    revision: str
    tables: tuple[str, ...]
    notes: tuple[str, ...]


def upgrade(db: MySql) -> UpgradeReport:
    """Bring the schema to the newest revision and make partitions from last month to two months ahead.

    Safe to repeat, after a kill too, and safe when two do it at once: the second waits and finds it done.

    Raises:
        StorageError: the server is too old, refuses, or stays away; or its schema is newer than this program.
    """
    what = f"upgrading the schema of {db.server}"
    if db.dialect.version < OLDEST[db.dialect.name]:
        raise StorageError(f"{what}: {db.dialect} is too old; use {RECOMMENDED}")

    def migrate() -> None:
        with db.named_locks(["schema"], timeout_s=300) as connection:
            _check_not_newer(connection, what)
            config = _config()
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            connection.commit()

    db.retry(what, migrate)
    now = db.run(what, lambda connection: connection.scalar(text("SELECT UTC_TIMESTAMP()")))
    this = Month.of_ms(to_ms(_as_datetime(now)))
    for table in PARTITIONED:
        ensure_months(db, table, month_range(this.plus(-1), this.plus(MONTHS_AHEAD)))
    return db.run(what, lambda connection: _report(connection, db.dialect))


def schema_revision(db: MySql) -> str | None:
    """The schema's revision, None where there is no schema yet."""
    return db.run(
        "reading the schema's revision",
        lambda connection: MigrationContext.configure(connection).get_current_revision(),
    )


def known_revisions() -> tuple[str, ...]:
    """The schema's revisions that this version of Gapless knows, oldest first."""
    return tuple(reversed([each.revision for each in ScriptDirectory.from_config(_config()).walk_revisions()]))


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(files("gapless.storage") / "migrations").replace("%", "%%"))
    return config


def _check_not_newer(connection: Connection, what: str) -> None:
    current = MigrationContext.configure(connection).get_current_revision()
    known = {revision.revision for revision in ScriptDirectory.from_config(_config()).walk_revisions()}
    connection.rollback()
    if current is not None and current not in known:
        raise StorageError(
            f"{what}: it is at revision {current}, which this version of Gapless does not know; update Gapless"
        )


def _as_datetime(value: object) -> datetime:
    if not isinstance(value, datetime):
        raise StorageError(f"the server's clock reads {value!r}")
    return value


def _report(connection: Connection, dialect: Dialect) -> UpgradeReport:
    revision = MigrationContext.configure(connection).get_current_revision() or ""
    tables = tuple(sorted(name for name in inspect(connection).get_table_names() if name != "alembic_version"))
    return UpgradeReport(revision, tables, tuple(_notes(connection, dialect)))


def _notes(connection: Connection, dialect: Dialect) -> Iterable[str]:
    if dialect.version < TESTED[dialect.name]:
        yield f"{dialect} is older than what Gapless is tested with ({RECOMMENDED})"
    if not connection.scalar(text("SELECT @@GLOBAL.local_infile")):
        yield (
            "local_infile is OFF on the server: bars are loaded through INSERT statements, about half as fast; "
            "SET GLOBAL local_infile = ON (and in its configuration) allows LOAD DATA LOCAL"
        )
    missing = _missing_rights(connection)
    if missing:
        yield (
            f"the user lacks {', '.join(missing)} on this database: partitions and migrations need them; "
            "GRANT ALL PRIVILEGES ON it"
        )


def _missing_rights(connection: Connection) -> list[str]:
    """Rights that neither the user's global nor its schema's grants hold; nothing where grants cannot be read."""
    try:
        grants = [str(row[0]).upper() for row in connection.execute(text("SHOW GRANTS"))]
        database = str(connection.scalar(text("SELECT DATABASE()"))).upper()
    except Exception as error:
        if is_database_error(error):
            return []
        raise
    held: set[str] = set()
    for grant in grants:
        found = re.match(r"GRANT (.+?) ON (\S+)\.\* TO ", grant)
        if found and found.group(2).strip("`").replace("\\", "") in ("*", database):
            held.update(right.strip() for right in found.group(1).split(","))
        elif grant.startswith("GRANT `"):
            return []  # rights by role: what they amount to cannot be read off here
    return [] if "ALL PRIVILEGES" in held else [right for right in _RIGHTS if right not in held]
