"""What a suite is: a table, the rows of it that a day's check takes, and the rules they must keep. Plain values."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from string import Formatter
from typing import Literal

Severity = Literal["critical", "warning"]
"""`critical`: a broken rule makes the day dirty; `warning`: it is counted and shown, and the day stays clean."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows that keep a rule; those that do not are selected.

    Attributes:
        name: short and for ever the same, for programs.
        text: the rule, for a reader, with units.
        where: the SQL condition that a row meets when it **breaks** the rule.
        say: what is wrong with such a row: a format over its columns (`source {source} means nothing`), or a function
            of them; values as `plain` writes them.
        needs: the columns that `say` is told of, when it is a function.
        query: instead of `where`: a whole query over `{batch}`, the rows that are checked, that yields a row for each
            break, with the columns that name it and those that `say` is told of. Great Expectations gives the batch an
            alias of its own unless the query has a JOIN: with one write `{batch} AS b`, without one just `{batch}`.
        label: the columns that name a row of this rule, where they are not the suite's.
    """

    name: str
    text: str
    where: str = ""
    say: str | Callable[[Mapping[str, str]], str] = ""
    query: str = ""
    severity: Severity = "critical"
    label: tuple[str, ...] | None = None
    needs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if bool(self.where) == bool(self.query) or not self.say or callable(self.say) != bool(self.needs):
            raise ValueError(f"rule {self.name}: it has a condition or a query, and says what is wrong")

    @property
    def shown(self) -> tuple[str, ...]:
        """The columns that are told of a row, beside those that name it."""
        if callable(self.say):
            return self.needs
        return tuple(dict.fromkeys(name for _, name, _, _ in Formatter().parse(self.say) if name))


@dataclass(frozen=True, slots=True)
class AtLeast:
    """How many rows there must be.

    Attributes:
        at_most: None for any number.
        say: what is wrong when there are not.
    """

    name: str
    text: str
    rows: int
    say: str
    at_most: int | None = None
    severity: Severity = "critical"


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns that the table must have, no more and no fewer."""

    name: str
    text: str
    columns: tuple[str, ...]
    severity: Severity = "critical"


Rule = Rows | AtLeast | Columns


@dataclass(frozen=True, slots=True)
class Suite:
    """What the rows of one table must keep.

    Attributes:
        name: the suite's, and the page's.
        title: what the table holds, for a reader.
        batch: which of its rows are checked, for a reader.
        label: the columns that name a row.
    """

    name: str
    table: str
    title: str
    batch: str
    label: tuple[str, ...]
    rules: tuple[Rule, ...]

    def __post_init__(self) -> None:
        names = [rule.name for rule in self.rules]
        if len(set(names)) != len(names):
            raise ValueError(f"suite {self.name}: two rules have one name")

    def __iter__(self) -> Iterator[Rule]:
        return iter(self.rules)

    def rule(self, name: str) -> Rule:
        """The rule of that name.

        Raises:
            KeyError: there is none.
        """
        for rule in self.rules:
            if rule.name == name:
                return rule
        raise KeyError(name)


def label_of(suite: Suite, rule: Rows) -> tuple[str, ...]:
    """The columns that name a row which breaks the rule."""
    return suite.label if rule.label is None else rule.label


def columns_of(suite: Suite, rule: Rows) -> tuple[str, ...]:
    """The columns that are read of such a row: those that name it, then those that are told of it."""
    return tuple(dict.fromkeys((*label_of(suite, rule), *rule.shown)))


def plain(value: object) -> str:
    """A stored value as a person writes it: decimals without zeros at their end, times without a zone (all are UTC)."""
    if value is None:
        return "nothing"
    if isinstance(value, Decimal):
        text = format(value, "f")
        return text.rstrip("0").rstrip(".") if "." in text else text
    if isinstance(value, datetime):
        shown = value.isoformat(timespec="auto")
        return shown.removesuffix(":00") if not value.microsecond else shown
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return str(value)


def sentence(suite: Suite, rule: Rows, row: Mapping[str, str]) -> str:
    """`BTC/USDT 1m 2026-11-20T10:05: high 5 is below open 6`.

    Args:
        row: columns and their values as `plain` writes them.
    """
    name = " ".join(row[column] for column in label_of(suite, rule) if row[column])
    said = rule.say(row) if callable(rule.say) else rule.say.format_map(row)
    return f"{name}: {said}" if name else said
