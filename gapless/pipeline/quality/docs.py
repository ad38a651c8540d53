"""The data docs on disk: built aside in a folder of the run's own, published by one rename, kept for a time.

data_docs/quality/index.html                  all verdicts that are kept
data_docs/quality/assets/                     styles and scripts of all pages
data_docs/quality/2026-11-20/<run>/           the day's verdict (index.html), Great Expectations' pages (gx/)
data_docs/.building/                          what is not published yet
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from gapless.config import include_dir
from gapless.domain.window import DAY_MS, parse_time
from gapless.errors import ConfigError, StorageError
from gapless.quality.expectations import ExpectationsReport, Suite
from gapless.quality.expectations.offline import free
from gapless.quality.expectations.pages import Entry, day_page, entry_of, index_page
from gapless.storage.lake.reports import file_name

SITE = "quality"
_BUILDING = ".building"
_ENTRY = "run.json"
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")


def assets_dir() -> Path:
    """Where the styles and scripts of the pages come from."""
    return include_dir() / "data_docs" / "assets"


@contextmanager
def building(home: Path) -> Iterator[Path]:
    """An empty folder to build in, on the disk of the data docs; gone afterwards unless it was published.

    Raises:
        StorageError: the folder cannot be made.
    """
    folder = home / _BUILDING / f"{os.getpid()}-{secrets.token_hex(6)}"
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise StorageError(
            f"cannot build data docs in {home}: {error.strerror}; make GAPLESS_VAR_DIR writable"
        ) from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def publish(home: Path, built: Path, report: ExpectationsReport, suites: Sequence[Suite], *, kept_days: int) -> Path:
    """Complete the pages of a run with its verdict and put them where they are read; the path of the verdict.

    The run's earlier pages are replaced. Runs that publish at once follow each other.

    Args:
        built: the folder of `building`, with Great Expectations' pages in `gx/`.

    Raises:
        StorageError: the pages would load something from elsewhere: they are not published.
        OSError: the disk did not take them.
    """
    site, name = home / SITE, f"{report.day}/{file_name(report.run_id)}"
    shutil.rmtree(built / "gx" / "static", ignore_errors=True)  # four megabytes that no page shows
    if left := free(built / "gx", assets_dir(), "../../../assets/"):
        raise StorageError(f"the data docs would need the network: {'; '.join(left[:3])}; they are not published")
    now = datetime.now(UTC)
    details = {suite.name: way for suite in suites if (way := _detail(built, suite.name))}
    page = day_page(report, suites, details, to_site="../../", ended=f"{now:%Y-%m-%d %H:%M:%S} UTC")
    (built / "index.html").write_text(page, encoding="utf-8")
    entry = entry_of(report, folder=name, at=f"{now:%Y-%m-%d %H:%M:%S}")
    (built / _ENTRY).write_bytes(msgspec.json.encode(entry))
    target = site / name
    with _alone(home):
        _put_assets(site / "assets")
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():
            target.rename(home / _BUILDING / f"old-{secrets.token_hex(6)}")
        built.rename(target)
        _list_all(site, kept_days)
        _clear(home)
    return target / "index.html"


def old_pages(home: Path, now_ms: int, days: int) -> list[Path]:
    """The folders of pages of days that ended more than so many days ago, the oldest first.

    Raises:
        OSError: the folder cannot be read.
    """
    site = home / SITE
    if not site.is_dir():
        return []
    return [folder for folder in sorted(site.iterdir()) if ended_ms(folder) <= now_ms - days * DAY_MS]


def ended_ms(folder: Path) -> int:
    """When the day of a folder of pages ended; far in the future where the folder is none of a day."""
    try:
        return parse_time(folder.name) + DAY_MS if _DAY.fullmatch(folder.name) else 1 << 62
    except ConfigError:  # 2026-02-31: not ours to remove
        return 1 << 62


def sweep_docs(home: Path, now_ms: int, days: int) -> int:
    """Remove the pages of days that ended more than so many days ago, and what killed runs left; how many runs' pages.

    Raises:
        OSError: a folder cannot be removed.
    """
    site, removed = home / SITE, 0
    if not site.is_dir():
        return 0
    with _alone(home):
        for folder in old_pages(home, now_ms, days):
            removed += sum(each.is_dir() for each in folder.iterdir())
            shutil.rmtree(folder)
        _list_all(site, days)
        _clear(home, now_ms - DAY_MS)
    return removed


def _detail(built: Path, suite: str) -> str | None:
    """The way to Great Expectations' page of a suite; its name holds times of its own making."""
    found = sorted((built / "gx" / "validations" / suite).rglob("*.html"))
    return found[0].relative_to(built).as_posix() if found else None


def _list_all(site: Path, kept_days: int) -> None:
    entries = []
    for path in sorted(site.glob(f"*/*/{_ENTRY}")):
        try:
            entries.append(msgspec.json.decode(path.read_bytes(), type=Entry))
        except (OSError, msgspec.MsgspecError):
            continue  # removed meanwhile, or of another release: its pages stay, unlisted
    _replace(site / "index.html", index_page(entries, kept_days=kept_days).encode())


def _put_assets(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for source in assets_dir().iterdir():
        data, target = source.read_bytes(), folder / source.name
        if not target.exists() or target.read_bytes() != data:
            _replace(target, data)


def _replace(path: Path, data: bytes) -> None:
    part = path.with_name(f".{path.name}-{secrets.token_hex(6)}")
    part.write_bytes(data)
    part.replace(path)


def _clear(home: Path, before_ms: int | None = None) -> None:
    """Remove replaced pages and, of folders that were being built then, what no run came back for."""
    for folder in (home / _BUILDING).iterdir():
        old = before_ms is not None and folder.is_dir() and folder.stat().st_mtime * 1000 < before_ms
        if folder.name.startswith("old-") or old:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    """Nobody else publishes or removes pages meanwhile; the lock is the kernel's, so no dead process holds it."""
    folder = home / _BUILDING
    folder.mkdir(parents=True, exist_ok=True)
    with (home / ".lock").open("ab") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield
