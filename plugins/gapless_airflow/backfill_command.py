"""The guard against large backfills at `airflow backfill create`, which does not pass the API."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from typing import Any

from gapless_airflow.backfill_guard import refusal


def confirm_large_backfill(*, sub_command: str, **_: Any) -> None:
    """Ends `airflow backfill create` with status 2 when it is large and not confirmed; leaves all other commands alone.

    Called by Airflow before it runs a command (`airflow.utils.cli_action_loggers`). An error in here is logged by
    Airflow and the command goes on: a guard that breaks must not take the command line with it.

    Args:
        sub_command: the name of the command's function.
    """
    if sub_command != "create_backfill":
        return
    from airflow.cli.cli_parser import get_parser

    args = get_parser().parse_args(sys.argv[1:])
    if args.dry_run:
        return
    conf = json.loads(args.dag_run_conf) if args.dag_run_conf else None
    reason = refusal(args.dag_id, count_runs(args, conf), conf)
    if reason is not None:
        print(f"{reason}\nHere: --dag-run-conf with that JSON; --dry-run lists the runs.", file=sys.stderr)
        raise SystemExit(2)


def count_runs(args: Namespace, conf: dict[str, Any] | None) -> int:
    """How many runs the command would create, by Airflow's own dry run."""
    from airflow.models.backfill import ReprocessBehavior, _do_dry_run
    from airflow.utils.session import create_session

    with create_session() as session:
        runs = _do_dry_run(
            dag_id=args.dag_id,
            from_date=args.from_date,
            to_date=args.to_date,
            reverse=args.run_backwards,
            reprocess_behavior=ReprocessBehavior(args.reprocess_behavior or "none"),
            dag_run_conf=conf,
            session=session,
        )
        return sum(1 for _ in runs)
