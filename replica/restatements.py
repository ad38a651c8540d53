"""Closed bars that the exchange changed afterwards: an overlay on the rows of any source."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gapless.domain.instrument import Market
from gapless.errors import ConfigError
from replica.bars import FIELDS

_FIXED = {"open_time", "close_time", "ignore"}
_DECIMAL = re.compile(r"\d+(\.\d+)?", re.ASCII)
_MOST = 100_000


@dataclass(slots=True)
class Restatements:
    """What was changed, by series and open time. A restatement concerns one interval: the exchange's own longer bars
    do not always follow either."""

    _changes: dict[tuple[Market, str, str], dict[int, dict[int, Any]]] = field(default_factory=dict)

    def add(self, market: Market, symbol: str, interval: str, open_ms: int, values: Mapping[str, Any]) -> None:
        """Changes fields of a bar from now on. Decimals are strings as on the wire, `trades` is a number.

        Raises:
            ConfigError: a field cannot be restated or its value is not of its type.
        """
        if not values:
            raise ConfigError("a restatement names at least one field, such as {'close': '101.5'}")
        places: dict[int, Any] = {}
        for name, value in values.items():
            if name not in FIELDS or name in _FIXED:
                raise ConfigError(
                    f"cannot restate {name!r}: choose from {', '.join(f for f in FIELDS if f not in _FIXED)}"
                )
            whole = isinstance(value, int) and not isinstance(value, bool) and value >= 0
            if not whole if name == "trades" else not (isinstance(value, str) and _DECIMAL.fullmatch(value)):
                wanted = "a whole number" if name == "trades" else "a decimal in quotes"
                raise ConfigError(f"restated {name} of {symbol} {interval} must be {wanted}, not {value!r}")
            places[FIELDS.index(name)] = value
        if sum(map(len, self._changes.values())) >= _MOST:
            raise ConfigError(f"the replica keeps {_MOST} restated bars at most; restart it")
        series = self._changes.setdefault((market, symbol, interval), {})
        series.setdefault(open_ms, {}).update(places)

    def apply(self, market: Market, symbol: str, interval: str, rows: list[str], *, micros: bool = False) -> list[str]:
        """The rows with the changes in them."""
        series = self._changes.get((market, symbol, interval))
        if not series:
            return rows
        return [self._changed(row, series, 1000 if micros else 1) for row in rows]

    def snapshot(self, market: Market, symbol: str, interval: str) -> dict[int, dict[int, Any]]:
        """A series' changes as they stand now: by open time (ms) and place in the row."""
        series = self._changes.get((market, symbol, interval), {})
        return {open_ms: dict(places) for open_ms, places in series.items()}

    @staticmethod
    def _changed(row: str, series: Mapping[int, Mapping[int, Any]], unit: int) -> str:
        places = series.get(int(row[1 : row.index(",")]) // unit)
        if places is None:
            return row
        values = json.loads(row)
        for place, value in places.items():
            values[place] = value
        return json.dumps(values, separators=(",", ":"))
