"""A suite as Great Expectations has it. Importing this loads Great Expectations: seconds, so only inside a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, ClassVar

from great_expectations.core import ExpectationSuite
from great_expectations.expectations.core.expect_table_columns_to_match_set import ExpectTableColumnsToMatchSet
from great_expectations.expectations.core.expect_table_row_count_to_be_between import ExpectTableRowCountToBeBetween
from great_expectations.expectations.core.unexpected_rows_expectation import UnexpectedRowsExpectation
from great_expectations.expectations.expectation import Expectation
from great_expectations.expectations.metadata_types import FailureSeverity
from great_expectations.render.components import (
    LegacyDiagnosticRendererType,
    LegacyRendererType,
    RenderedStringTemplateContent,
    RenderedTableContent,
)
from great_expectations.render.renderer.renderer import renderer

from gapless.quality.expectations.rules import (
    AtLeast,
    Columns,
    Rows,
    Rule,
    Suite,
    columns_of,
    label_of,
    plain,
    sentence,
)

SAMPLE = 10
"""How many of the rows that break a rule are named."""
_TEXT_MOST = 300
_COUNT = "broken_rows"


class RowsKeep(UnexpectedRowsExpectation):
    """Rows that keep a rule. One query counts those that do not and names the first, so that a table is read once a
    rule, and no more rows come back than are shown."""

    # Great Expectations' own class asks a second query for the count.
    metric_dependencies: ClassVar[tuple[str, ...]] = ("unexpected_rows_query.table",)

    def _validate(
        self, metrics: dict[str, Any], runtime_configuration: dict[str, Any] | None = None, execution_engine: Any = None
    ) -> dict[str, Any]:
        rows: list[dict[str, Any]] = metrics["unexpected_rows_query.table"]
        return {
            "success": not rows,
            "result": {
                "observed_value": int(rows[0][_COUNT]) if rows else 0,
                "details": {
                    "unexpected_rows": [
                        {name: plain(value)[:_TEXT_MOST] for name, value in row.items() if name != _COUNT}
                        for row in rows[:SAMPLE]
                    ]
                },
            },
        }

    @classmethod
    @renderer(renderer_type=LegacyRendererType.PRESCRIPTIVE)
    def _prescriptive_renderer(
        cls,
        configuration: Any = None,
        result: Any = None,
        runtime_configuration: dict[Any, Any] | None = None,
        **_: Any,
    ) -> list[Any]:
        return [_text(_configuration(configuration, result).description or cls.__name__)]

    @classmethod
    @renderer(renderer_type=LegacyDiagnosticRendererType.OBSERVED_VALUE)
    def _diagnostic_observed_value_renderer(
        cls,
        configuration: Any = None,
        result: Any = None,
        runtime_configuration: dict[Any, Any] | None = None,
        **_: Any,
    ) -> str:
        count = (result.result or {}).get("observed_value") if result is not None else None
        if count is None:
            return "not evaluated"
        return "all rows keep it" if count == 0 else f"{count:,} {'row breaks' if count == 1 else 'rows break'} it"

    @classmethod
    @renderer(renderer_type=LegacyDiagnosticRendererType.UNEXPECTED_TABLE)
    def _diagnostic_unexpected_table_renderer(
        cls,
        configuration: Any = None,
        result: Any = None,
        runtime_configuration: dict[Any, Any] | None = None,
        **_: Any,
    ) -> list[Any] | None:
        details = (result.result or {}).get("details") if result is not None else None
        rows: Sequence[Mapping[str, str]] = (details or {}).get("unexpected_rows", ())
        if not rows:
            return None
        # As they were read: the results' store puts keys in alphabetical order.
        header = _configuration(configuration, result).meta["columns"]
        return [
            RenderedTableContent(
                content_block_type="table",
                table=[[escape(row[name]) for name in header] for row in rows],
                header_row=header,
                styling={"body": {"classes": ["table-sm", "table-unexpected", "mb-2"]}},
            )
        ]


def gx_suite(suite: Suite) -> ExpectationSuite:
    """The suite as Great Expectations', each expectation carrying its rule's name."""
    return ExpectationSuite(
        name=suite.name,
        expectations=[_expectation(suite, rule) for rule in suite],
        notes=[f"{suite.title}. Checked: {suite.batch}. Times are UTC."],
    )


def query_of(suite: Suite, rule: Rows) -> str:
    """The rows that break a rule, in the order of what names them; each with the count of all of them."""
    source = f"({rule.query}) AS q" if rule.query else "{batch}"
    where = f"WHERE {rule.where} " if rule.where else ""
    order = ", ".join(f"`{name}`" for name in label_of(suite, rule))
    columns = ", ".join(f"`{name}`" for name in columns_of(suite, rule))
    return f"SELECT {columns}, COUNT(*) OVER () AS {_COUNT} FROM {source} {where}ORDER BY {order} LIMIT {SAMPLE}"  # noqa: S608


def sample_of(suite: Suite, rule: Rule, result: Mapping[str, Any]) -> tuple[str, ...]:
    """What is wrong, in words, from an expectation's result."""
    if isinstance(rule, Rows):
        rows = (result.get("details") or {}).get("unexpected_rows", ())
        return tuple(sentence(suite, rule, row) for row in rows)
    if isinstance(rule, AtLeast):
        return (rule.say,)
    found = result.get("observed_value")
    missing = sorted(set(rule.columns) - set(found or ()))
    extra = sorted(set(found or ()) - set(rule.columns))
    said = [f"lacks the columns {', '.join(missing)}"] if missing else []
    said += [f"has columns that nobody expects: {', '.join(extra)}"] if extra else []
    return tuple(said)


def _expectation(suite: Suite, rule: Rule) -> Expectation:
    shared: dict[str, Any] = {
        "description": f"{rule.name}: {rule.text}",
        "severity": FailureSeverity(rule.severity),
        "meta": {"rule": rule.name},
    }
    if isinstance(rule, AtLeast):
        return ExpectTableRowCountToBeBetween(min_value=rule.rows, max_value=rule.at_most, **shared)
    if isinstance(rule, Columns):
        return ExpectTableColumnsToMatchSet(column_set=list(rule.columns), exact_match=True, **shared)
    shared["meta"]["columns"] = list(columns_of(suite, rule))
    return RowsKeep(unexpected_rows_query=query_of(suite, rule), **shared)


def _configuration(configuration: Any, result: Any) -> Any:
    return configuration if configuration is not None else result.expectation_config


def _text(text: str) -> RenderedStringTemplateContent:
    return RenderedStringTemplateContent(
        content_block_type="string_template",
        string_template={"template": "$text", "params": {"text": text}},
    )
