"""The live Streams of the hour before, from the disk spool to the lake. The task calls one function."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import CronDataIntervalTimetable, Param, dag, task

from gapless_airflow.policy import DEFAULT_ARGS, labels

DOC = """
### Trades, mark prices, liquidations as they were streamed: spool to lake, every hour, proved

**What.** At seven minutes past, every spooled hour that has been over for five minutes is published. `publish` merges
its rows into the lake's objects of that hour (`trades/binance-2026-11-20T16.03.parquet`), reads each object back and
compares it, enters it into `archive_receipt` and the hour into `check_run`, and only then removes the spool's files.
What comes later still makes a new file in the spool: the next run merges it in.

| in the log | means |
|---|---|
| `rows added` | rows the lake did not have |
| `duplicates` | sent twice by the exchange, or spooled twice after a crash; kept once |
| `quarantined` | in `quarantine` with payload and reason: a field is missing, or its column cannot hold a value |
| `missing` | trade ids that the exchange gave and nobody stored, with what `md.gaps` says of that time |
| `wait` | hours that are not over, or that the consumer still has open |

**When to trigger.** After the lake or MySQL was away, or the spool's disk full: no need to wait for the next hour.
`hour` publishes one hour alone; empty means all that are over. It must run where the spool lies
(`GAPLESS_VAR_DIR`).

| field | means |
|---|---|
| `hour` | the beginning of one hour, UTC; empty: all that are over |

**Red.** The last lines name hours and causes. An hour that failed stays in the spool and is tried by every later run.
Trades that are missing without an event in `md.gaps` were lost before the Stream: look at the streamer's log of that
time; the run after is green again, the hour stays `dirty` in `check_run`. A damaged spool file lies whole in the
lake's `quarantine/streams/`: look at the disk. Nothing spooled is green.

**Undo.** Nothing needs undoing: a repeat, a kill or two runs at once leave the same rows.
"""

PARAMS = {
    "hour": Param(
        None,
        type=["null", "string"],
        format="date-time",
        title="Hour (UTC)",
        description="Publish this hour alone, by its beginning. Empty: every spooled hour that is over.",
    ),
}


@dag(
    **labels("stream_archive_hourly", DOC, "streams", "binance", "hourly"),
    schedule=CronDataIntervalTimetable("7 * * * *", timezone="UTC"),
    start_date=datetime(2017, 7, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULT_ARGS,
    params=PARAMS,
)
def stream_archive_hourly() -> None:
    @task(execution_timeout=timedelta(minutes=50))
    def publish(**context: Any) -> Any:
        from gapless_airflow import stream_archive

        return stream_archive.publish(context)

    publish()


stream_archive_hourly()
