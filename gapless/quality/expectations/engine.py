"""Great Expectations at work: suites held against tables of one connection. Importing this takes seconds.

The context lives in memory and belongs to one run, so that two runs at once have nothing to race for; only the data
docs are written, into a folder of the run's own. Nothing is sent anywhere and no progress is drawn.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import great_expectations as gx
from great_expectations.core.run_identifier import RunIdentifier
from great_expectations.data_context.data_context.ephemeral_data_context import EphemeralDataContext
from great_expectations.data_context.types.base import (
    DataContextConfig,
    InMemoryStoreBackendDefaults,
    ProgressBarsConfig,
)
from sqlalchemy.pool import StaticPool

from gapless.quality.expectations.checks import gx_suite, sample_of
from gapless.quality.expectations.judge import Answer, why_raised
from gapless.quality.expectations.rules import AtLeast, Suite

_SOURCE = "gapless"
_SITE = "quality"


@dataclass(frozen=True, slots=True)
class Batch:
    """A suite and the table, of the connection that is validated, which holds the rows it is held against."""

    suite: Suite
    table: str
    rows: int


@dataclass(frozen=True, slots=True)
class Answered:
    """What Great Expectations said of a batch, rule by rule, and its own account as plain JSON values."""

    batch: Batch
    answers: tuple[Answer, ...]
    account: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Validated:
    """What came of all batches, and why there are no data docs if there are none."""

    answered: tuple[Answered, ...]
    docs_failure: str = ""


def validate(batches: Sequence[Batch], connect: Callable[[], Any], *, run_name: str, docs: Path) -> Validated:
    """Hold every suite against its table.

    Args:
        connect: gives the driver's connection that has the tables; it is used for all of them and not closed here.
        run_name: what the results and the data docs call the run; part of a path.
        docs: where to build the data docs.

    Raises:
        Exception: whatever Great Expectations raises when it cannot work at all; a check that cannot be done is an
            answer.
    """
    context = _context(docs)
    # The connection's own, not a URL: its temporary tables are seen by nobody else, and a URL would hold the password.
    engine: dict[str, Any] = {"kwargs": {"creator": lambda: _Borrowed(connect()), "poolclass": StaticPool}}
    source = context.data_sources.add_sql(name=_SOURCE, connection_string="mysql+mysqldb://", **engine)
    definitions = {}
    for batch in batches:
        asset = source.add_table_asset(name=batch.suite.name, table_name=batch.table)
        definition = gx.ValidationDefinition(
            name=batch.suite.name,
            data=asset.add_batch_definition_whole_table("day"),
            suite=context.suites.add(gx_suite(batch.suite)),
        )
        definitions[batch.suite.name] = context.validation_definitions.add(definition)
    checkpoint = gx.Checkpoint(
        name=_SITE, validation_definitions=list(definitions.values()), actions=[], result_format="COMPLETE"
    )
    done = context.checkpoints.add(checkpoint).run(run_id=RunIdentifier(run_name=run_name))
    results = {result.suite_name: result for result in done.run_results.values()}
    answered = tuple(_answered(batch, results.get(batch.suite.name)) for batch in batches)
    return Validated(answered, _build_docs(context, docs, [batch.suite.name for batch in batches]))


class _Borrowed:
    """A driver's connection that is not closed by whoever it was lent to, whenever they are collected."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def close(self) -> None:
        """Nothing: its owner closes it."""


def _build_docs(context: EphemeralDataContext, docs: Path, suites: Sequence[str]) -> str:
    """Build the pages; why they are not whole, if they are not. A page less must not hide what is true of the data."""
    try:
        context.build_data_docs(site_names=[_SITE])
    except Exception as error:  # whatever its templates raise
        return f"Great Expectations could not build its pages: {type(error).__name__}: {error}"
    # It logs what a page raised, and goes on without it.
    lacking = [name for name in suites if not any((docs / "validations" / name).rglob("*.html"))]
    return f"Great Expectations built no page of {', '.join(lacking)}: its log says why" if lacking else ""


def _context(docs: Path) -> EphemeralDataContext:
    site = {
        "class_name": "SiteBuilder",
        "show_how_to_buttons": False,
        "store_backend": {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(docs)},
        "site_index_builder": {"class_name": "DefaultSiteIndexBuilder", "show_cta_footer": False},
    }
    config = DataContextConfig(
        store_backend_defaults=InMemoryStoreBackendDefaults(),
        data_docs_sites={_SITE: site},
        analytics_enabled=False,
        progress_bars=ProgressBarsConfig(globally=False),
    )
    return gx.get_context(mode="ephemeral", project_config=config)


def _answered(batch: Batch, result: Any) -> Answered:
    if result is None:
        return Answered(batch, (), {})
    known = {rule.name for rule in batch.suite}
    answers = tuple(_answer(batch.suite, known, each) for each in result.results)
    # Through JSON, because some of its texts are of classes of SQLAlchemy's.
    return Answered(batch, answers, json.loads(json.dumps(result.to_json_dict())))


def _answer(suite: Suite, known: set[str], result: Any) -> Answer:
    name = str((result.expectation_config.meta or {}).get("rule", result.expectation_config.type))
    raised = why_raised(result.exception_info)
    if raised or name not in known:
        return Answer(name, holds=False, raised=raised)
    if result.success:
        return Answer(name, holds=True)
    rule = suite.rule(name)
    observed = result.result.get("observed_value")
    # Of how many rows there are, and of which columns, one thing is wrong, not rows.
    unexpected = observed if isinstance(observed, int) and not isinstance(rule, AtLeast) else 1
    return Answer(name, holds=False, unexpected=unexpected, sample=sample_of(suite, rule, result.result))
