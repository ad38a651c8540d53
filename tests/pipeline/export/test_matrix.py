"""What can go wrong while a month leaves: whatever it is, nothing is dropped that the lake does not hold, and the next
run finishes the work."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from gapless.domain.datasets import Dataset
from gapless.domain.interval import Interval
from gapless.domain.window import Window
from gapless.errors import StorageError
from gapless.pipeline.export import bring as bringing
from gapless.pipeline.export import leave
from gapless.storage.mysql import log_lake_restatements
from gapless.storage.mysql.exports import DROPPED, read_exports
from tests.fixtures.replica import ReplicaHandle
from tests.fixtures.s3 import ACCESS_KEY, BUCKET, SECRET_KEY, S3Server
from tests.pipeline.conftest import Installation, MakeInstallation
from tests.pipeline.export.stage import JULY, SYMBOLS, everything, export, fill, has_left

POINTS = ("bring", "exchange_out", "prove", "put_manifest", "drop_twin")
"""Steps before which something happens."""


def before(monkeypatch: pytest.MonkeyPatch, point: str, happens: Callable[[], None]) -> list[str]:
    """Let something happen before a step is taken for the first time; the list says that it did."""
    done: list[str] = []
    owner: Any = leave
    if point == "put_manifest":
        from gapless.storage.lake import BarLake

        owner = BarLake
    step = getattr(owner, point)

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if not done:
            done.append(point)
            happens()
        return step(*args, **kwargs)

    monkeypatch.setattr(owner, point, wrapped)
    return done


def rows_in_mysql(installation: Installation) -> int:
    """July's rows, in the table or on their way out of it."""
    total = int(installation.rows("SELECT COUNT(*) FROM ohlcv WHERE ts < '2026-08-01'")[0][0])
    for (name,) in installation.rows("SHOW TABLES LIKE 'ohlcv_leaving%%'"):
        total += int(installation.rows(f"SELECT COUNT(*) FROM {name}")[0][0])
    return total


@pytest.mark.parametrize("point", POINTS)
def test_a_store_that_goes_away_costs_nothing_but_time(
    make_installation: MakeInstallation,
    replica: ReplicaHandle,
    own_s3: S3Server,
    monkeypatch: pytest.MonkeyPatch,
    point: str,
) -> None:
    installation = on_s3(make_installation, replica, own_s3)
    truth = fill(installation)
    held = rows_in_mysql(installation)
    done = before(monkeypatch, point, own_s3.stop)
    if point == "drop_twin":  # all is proved by then: the store is not needed any more
        assert export(installation).dropped
    else:
        with pytest.raises(StorageError, match="see that it runs and can be reached"):
            export(installation)
        assert rows_in_mysql(installation) == held
    assert done
    own_s3.start()
    assert everything(installation) == truth
    export(installation)
    assert rows_in_mysql(installation) == 0
    assert everything(installation) == truth
    assert [each.state for each in read_exports(installation.db, Dataset.OHLCV, JULY)] == [DROPPED]


@pytest.mark.parametrize("point", ["exchange_out", "prove", "drop_twin"])
def test_a_wrong_byte_in_the_lake_is_found_and_mended_from_the_rows_at_hand(
    installation: Installation, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    truth = fill(installation, intervals="1h")

    def damage() -> None:
        [path] = installation.lake.glob("ohlcv/binance-1h-2026-07.parquet")
        data = bytearray(path.read_bytes())
        data[len(data) // 3] ^= 1
        path.write_bytes(data)

    before(monkeypatch, point, damage)
    if point == "drop_twin":  # after the proof, and so beyond it: the store's own care; a reader is told
        export(installation)
        with pytest.raises(StorageError, match="damaged"):
            everything(installation)
        return
    report = export(installation)
    assert report.dropped
    assert [error.kind for error in report.errors] == ["damaged"]
    assert len(list(installation.lake.glob("_superseded/ohlcv/*"))) == 1
    has_left(installation, truth)


@pytest.mark.parametrize("point", ["bring", "exchange_out", "prove", "drop_twin", "fold_empty_months"])
def test_a_refill_that_races_the_export_is_never_lost(
    installation: Installation, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    """Rows that come before the month is exchanged away are exported with it; those after it wait for the next run."""
    fill(installation, intervals="1h")

    def refill() -> None:
        installation.backfill("2026-07-30", "2026-07-31", symbols="ETH/USDT", intervals="1h", into="mysql")

    done = before(monkeypatch, point, refill)
    export(installation)
    assert done
    everyone = (*SYMBOLS, "ETH/USDT")
    monkeypatch.setattr("tests.pipeline.export.stage.SYMBOLS", everyone)
    late = point in ("prove", "drop_twin", "fold_empty_months")
    assert rows_in_mysql(installation) == (24 if late else 0)
    found = everything(installation)
    assert len([row for row in found if row[1] == "ETH/USDT"]) == 24
    export(installation)
    has_left(installation, found)


def test_rows_that_never_stop_coming_end_the_export_with_a_reason(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    truth = fill(installation, intervals="1h")
    step = leave.exchange_out

    def touched(*args: Any, **kwargs: Any) -> Any:
        with installation.db.engine.begin() as connection:
            connection.exec_driver_sql("UPDATE ohlcv SET receipt_id = receipt_id + 1 WHERE symbol = 'BTC/USDT'")
        return step(*args, **kwargs)

    monkeypatch.setattr(leave, "exchange_out", touched)
    held = rows_in_mysql(installation)
    with pytest.raises(StorageError, match=r"rows were written to it during each of 5 exports; nothing was dropped"):
        export(installation)
    assert rows_in_mysql(installation) == held
    assert everything(installation) == truth
    monkeypatch.setattr(leave, "exchange_out", step)
    export(installation)
    has_left(installation, truth)


def test_a_row_that_slips_past_every_lock_is_found_by_the_proof(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another program changes a value in the twin itself: its sums are no longer the lake's."""
    fill(installation, intervals="1h")

    def change() -> None:
        with installation.db.engine.begin() as connection:
            statement = f"UPDATE ohlcv_leaving_202607 SET close = close + 1 WHERE {one}"
            assert connection.exec_driver_sql(statement).rowcount == 1

    one = "symbol = 'BTC/USDT' AND ts = '2026-07-30 05:00:00'"
    [(close,)] = installation.rows(f"SELECT close FROM ohlcv WHERE {one}")
    before(monkeypatch, "prove_twin", change)
    assert export(installation).dropped
    assert close + 1 in [row[7] for row in installation.lake_bars() if row[0] == "BTC/USDT"]
    assert installation.rows("SELECT COUNT(*) FROM restatement WHERE symbol = 'BTC/USDT'") == [(1,)]


def test_a_value_that_the_exchange_corrects_meanwhile_stays_corrected(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`gaps --fill` between the exchange and the proof: the lake has the later word, the twin the earlier one."""
    fill(installation, intervals="1h")
    one = "symbol = 'BTC/USDT' AND ts = '2026-07-30 05:00:00'"
    [(close,)] = installation.rows(f"SELECT close FROM ohlcv WHERE {one}")

    def restate() -> None:
        with installation.open() as rt:
            day = Window.of("2026-07-30T05:00", "2026-07-30T06:00")
            bar = rt.lake.read(day, symbols=["BTC/USDT"], intervals=[Interval.H1], exchange="binance")
            later = pa.array([close + 1], bar["close"].type)
            changed = bar.set_column(bar.column_names.index("close"), bar.schema.field("close"), later)
            note = partial(log_lake_restatements, rt.db)
            [receipt] = rt.lake.write(changed, on_replaced=lambda old, new: note(old, new) and None)
            assert receipt.replaced == 1

    before(monkeypatch, "prove_twin", restate)
    report = export(installation)
    assert (report.dropped, report.outranked) == (True, 1)
    assert close + 1 in [row[7] for row in installation.lake_bars() if row[0] == "BTC/USDT"]


def test_a_full_disk_is_a_clear_error_and_nothing_is_dropped(
    make_installation: MakeInstallation, replica: ReplicaHandle, tmp_path: Path
) -> None:
    mount = tmp_path / "small"
    mount.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(mount)], capture_output=True)
    if made.returncode:
        pytest.skip("mounts are not allowed here; tests/storage/lake/test_crash.py has the file size limit")
    try:
        installation = make_installation(replica, lake_uri=f"file://{mount}/lake")
        truth = fill(installation, intervals="1m,1h")
        filler = mount / "filler"
        filler.write_bytes(bytes(shutil.disk_usage(mount).free - 100_000))
        held = rows_in_mysql(installation)
        status, _, told = installation.command("export-month", "2026-07", "--drop")
        assert status == 1
        assert "space" in told
        assert "Traceback" not in told
        assert rows_in_mysql(installation) == held
        filler.unlink()
        assert everything(installation) == truth
        assert export(installation).dropped
        has_left(installation, truth)
    finally:
        subprocess.run(["umount", str(mount)], check=True)


def test_two_exports_of_one_month_at_once_are_one_after_the_other(installation: Installation) -> None:
    truth = fill(installation, intervals="1h")
    command = ["export-month", "2026-07", "--drop", "--json"]
    both = [
        subprocess.Popen(
            [sys.executable, "-m", "gapless", *command],
            env=installation.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for _ in range(2)
    ]
    ends = [(process.communicate(timeout=120)[1].decode(), process.returncode) for process in both]
    assert [status for _, status in ends] == [0, 0], ends
    has_left(installation, truth)
    assert len(read_exports(installation.db)) == 1


def on_s3(make_installation: MakeInstallation, replica: ReplicaHandle, server: S3Server) -> Installation:
    """An installation whose lake is a bucket."""
    return make_installation(
        replica,
        lake_uri=f"s3://{BUCKET}/archive",
        s3_endpoint_url=server.endpoint,
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET_KEY,
        storage_patience_s=1.5,
    )


def test_the_points_are_steps_of_the_export() -> None:
    assert callable(bringing.bring)
    assert all(hasattr(leave, point) for point in POINTS if point != "put_manifest")
