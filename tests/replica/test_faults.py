"""Fault scripts: each fault does what it says, to the requests it names, and is counted."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from multidict import MultiDict

from gapless.domain.window import parse_time
from gapless.errors import ConfigError
from replica.answer import Answer
from replica.clock import ReplicaClock
from replica.exchange import Call, Exchange
from replica.faults import load_script, parse_script
from replica.live.fault_schema import parse_live_script
from replica.market import GeneratedMarket
from replica.source import GeneratedSource
from replica.universe import default_universe

NOW = parse_time("2026-11-15T12:30:30")


def exchange_with(*rules: dict[str, Any], seed: int = 0) -> Exchange:
    source = GeneratedSource(GeneratedMarket("7", cached_days=8), default_universe())
    faults = parse_script({"seed": seed, "rules": list(rules)}, "test")
    return Exchange(source, ReplicaClock(NOW, 0), faults=faults)


def ask(
    exchange: Exchange, market: str = "um", symbol: str = "BTCUSDT", interval: str = "1m", limit: int = 5
) -> Answer:
    path = "/fapi/v1/klines" if market == "um" else "/api/v3/klines"
    params = MultiDict({"symbol": symbol, "interval": interval, "limit": str(limit)})
    return exchange.answer(Call(path, params, "127.0.0.1"))


def rows(answer: Answer) -> list[list[Any]]:
    assert answer.status == 200
    decoded: list[list[Any]] = json.loads(answer.body)
    return decoded


GOOD = rows(ask(exchange_with()))


def test_a_rule_meets_only_what_it_names() -> None:
    match = {"path": "*/klines", "market": "um", "symbol": ["BTCUSDT", "币安人生USDT"], "interval": "1m"}
    exchange = exchange_with({"match": match, "action": {"status": 503}})
    assert ask(exchange).status == 503
    assert ask(exchange, symbol="币安人生USDT").status == 503
    assert ask(exchange, symbol="ETHUSDT").status == 200
    assert ask(exchange, interval="5m").status == 200
    assert ask(exchange, market="spot").status == 200
    assert exchange.faults.report() == [{"name": "", "action": "status", "seen": 2, "applied": 2}]


@pytest.mark.parametrize(
    ("match", "struck"),
    [
        ({"nth": 2}, [2]),
        ({"nth": [1, 4]}, [1, 4]),
        ({"after": 3}, [4, 5, 6]),
        ({"every": 3}, [3, 6]),
        ({"times": 2}, [1, 2]),
        ({"after": 1, "times": 1}, [2]),
    ],
)
def test_a_rule_counts_the_requests_that_concern_it(match: dict[str, Any], struck: list[int]) -> None:
    exchange = exchange_with({"match": {**match, "symbol": "BTCUSDT"}, "action": {"status": 500}})
    statuses = []
    for _ in range(6):
        statuses.append(ask(exchange).status)
        ask(exchange, symbol="ETHUSDT")
    assert [number for number, status in enumerate(statuses, start=1) if status == 500] == struck


def test_chance_follows_the_scripts_seed() -> None:
    def struck(seed: int) -> list[bool]:
        exchange = exchange_with({"match": {"probability": 0.3}, "action": {"status": 500}}, seed=seed)
        return [ask(exchange).status == 500 for _ in range(200)]

    assert struck(1) == struck(1) != struck(2)
    assert 30 < sum(struck(1)) < 90


def test_a_span_is_of_exchange_time() -> None:
    exchange = exchange_with(
        {"match": {"from": "2026-11-15T12:31", "until": "2026-11-15T12:32"}, "action": {"status": 500}}
    )
    seen = []
    for _ in range(3):
        seen.append(ask(exchange).status)
        exchange.clock.advance(60_000)
    assert seen == [200, 500, 200]


def test_429_and_418_speak_as_the_exchange_does_and_a_ban_holds() -> None:
    exchange = exchange_with(
        {"match": {"nth": 1}, "action": {"status": 429}},
        {"match": {"nth": 2}, "action": {"status": {"code": 418, "ban_s": 60}}},
    )
    first, second, third = (ask(exchange, "spot") for _ in range(3))
    assert (first.status, json.loads(first.body)["code"], first.headers["Retry-After"]) == (429, -1003, "30")
    assert (second.status, second.headers["Retry-After"]) == (418, "60")
    assert f"IP banned until {NOW + 60_000}." in json.loads(second.body)["msg"]
    assert third.status == 418
    assert ask(exchange, "um").status == 200
    exchange.clock.advance(60_000)
    assert ask(exchange, "spot").status == 200
    assert exchange.stats.report()["spot"]["refused_418"] == 2


def test_retry_after_can_be_given_or_kept_back() -> None:
    exchange = exchange_with(
        {"match": {"market": "spot"}, "action": {"status": {"code": 429, "retry_after": False}}},
        {"match": {"market": "um"}, "action": {"status": {"code": 429, "retry_after": 7}}},
    )
    assert "Retry-After" not in ask(exchange, "spot").headers
    assert ask(exchange, "um").headers["Retry-After"] == "7"


@pytest.mark.parametrize(
    ("action", "status", "body", "kind"),
    [
        ({"status": 403}, 403, "<html>", "text/html"),
        ({"status": 451}, 451, "restricted location", "text/html"),
        ({"status": 502}, 502, "Bad Gateway", "text/html"),
        ({"error": -1121}, 400, '"code":-1121', "application/json"),
        ({"error": {"code": -1001, "msg": "Internal error", "status": 500}}, 500, "Internal error", "application/json"),
        ({"html": True}, 200, "<!DOCTYPE html>", "text/html"),
    ],
)
def test_answers_that_are_no_data(action: dict[str, Any], status: int, body: str, kind: str) -> None:
    answer = ask(exchange_with({"action": action}))
    assert (answer.status, answer.content_type) == (status, kind)
    assert body in answer.body.decode()
    assert answer.headers["X-MBX-USED-WEIGHT-1M"] == "1"


def test_half_a_body_is_no_json() -> None:
    answer = ask(exchange_with({"action": {"half_json": True}}))
    assert answer.status == 200
    with pytest.raises(json.JSONDecodeError):
        json.loads(answer.body)


def test_rows_are_dropped_repeated_and_shuffled() -> None:
    assert rows(ask(exchange_with({"action": {"drop_rows": [0, -1]}}))) == GOOD[1:-1]
    assert rows(ask(exchange_with({"action": {"drop_rows": 0}}))) == GOOD[1:]
    assert rows(ask(exchange_with({"action": {"duplicate_rows": 1}}))) == [*GOOD[:2], GOOD[1], *GOOD[2:]]
    mixed = rows(ask(exchange_with({"action": {"shuffle_rows": True}}), limit=50))
    assert mixed != sorted(mixed)
    assert sorted(mixed) == rows(ask(exchange_with(), limit=50))


@pytest.mark.parametrize(
    ("change", "place", "value"),
    [
        ({"row": 0, "field": "high", "value": "0.1"}, 2, "0.1"),
        ({"row": 0, "field": "volume", "value": "-1"}, 5, "-1"),
        ({"row": 0, "field": "close", "value": "1.1234567891"}, 4, "1.1234567891"),
        ({"row": 0, "field": "open_time", "add": 1}, 0, GOOD[0][0] + 1),
        ({"row": 0, "field": "open", "value": None}, 1, None),
        ({"row": 0, "field": "trades", "value": "many"}, 8, "many"),
        ({"row": 0, "append": "extra"}, 12, "extra"),
    ],
)
def test_a_field_can_be_spoilt_in_any_way(change: dict[str, Any], place: int, value: Any) -> None:
    spoilt = rows(ask(exchange_with({"action": {"alter": change}})))
    assert spoilt[0][place] == value
    assert spoilt[1:] == GOOD[1:]


def test_rows_are_chosen_by_place_by_open_time_or_all() -> None:
    by_time = {"row": "2026-11-15T12:28:00", "field": "close", "value": "1"}
    assert [row[4] == "1" for row in rows(ask(exchange_with({"action": {"alter": by_time}})))] == [False] * 2 + [
        True
    ] + [False] * 2
    every = {"row": "all", "field": "ignore", "remove": True}
    assert {len(row) for row in rows(ask(exchange_with({"action": {"alter": every}})))} == {11}


def test_faults_pile_up_until_one_ends_the_matter() -> None:
    exchange = exchange_with(
        {"action": {"drop_rows": 0}},
        {"action": {"delay_ms": 5}},
        {"action": {"alter": {"row": 0, "field": "close", "value": "1"}}},
        {"match": {"nth": 2}, "action": {"status": 500}},
        {"action": {"html": True}, "match": {"nth": 2}},
    )
    answer = ask(exchange)
    assert (rows(answer)[0][4], len(rows(answer)), answer.delay_ms) == ("1", 4, 5)
    assert ask(exchange).status == 500
    assert [entry["applied"] for entry in exchange.faults.report()] == [2, 2, 2, 1, 0]


def test_a_bar_can_differ_from_its_nth_reading_on() -> None:
    restated = {"open_time": "2026-11-15T12:27", "field": "close", "value": "9.99", "after": 2}
    exchange = exchange_with({"match": {"symbol": "BTCUSDT"}, "action": {"restated": restated}})
    closes = []
    for _ in range(4):
        closes.append(next(row[4] for row in rows(ask(exchange)) if row[0] == parse_time("2026-11-15T12:27")))
    assert closes == [GOOD[1][4]] * 2 + ["9.99"] * 2


def test_the_servers_clock_can_seem_wrong() -> None:
    exchange = exchange_with({"action": {"clock_skew_ms": -90_000}})
    for path in ("/fapi/v1/time", "/api/v3/time", "/api/v3/exchangeInfo"):
        answer = exchange.answer(Call(path, MultiDict(), "127.0.0.1"))
        assert json.loads(answer.body)["serverTime"] == NOW - 90_000


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"action": {"statsu": 500}}, "statsu"),
        ({"action": {"status": 500}, "match": {"simbol": "X"}}, "simbol"),
        ({"action": {}}, "exactly one action"),
        ({"action": {"status": 500, "html": True}}, "exactly one action, not status, html"),
        ({"action": {"alter": {"field": "hihg", "value": 1}}}, "unknown field 'hihg'"),
        ({"action": {"alter": {"field": "high"}}}, "exactly one of value"),
        ({"action": {"alter": {"value": 1}}}, "name the field"),
        ({"action": {"status": 200}}, "status"),
        ({"action": {"status": 500}, "match": {"probability": 2}}, "probability"),
        ({"action": {"status": 500}, "match": {"from": "noon"}}, "not a time"),
        ({"action": {"status": 500}, "match": {"market": "moon"}}, "market"),
        ({"match": {}}, "action"),
    ],
)
def test_a_wrong_script_is_refused_with_its_place(rule: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=r"fault script test: .*" + message):
        parse_script({"rules": [rule]}, "test")


def test_the_scripts_in_the_manual_are_valid_ones() -> None:
    manual = (Path(__file__).resolve().parents[2] / "docs" / "replica.md").read_text(encoding="utf-8")
    examples = re.findall(r"```yaml\n(.*?)```", manual, flags=re.DOTALL)
    scripts = [yaml.safe_load(each) for each in examples]
    live = [parse_live_script(script.pop("live"), "docs/replica.md") for script in scripts if "live" in script]
    assert [len(parse_script(script, "docs/replica.md").script.rules) for script in scripts] == [6, 4, 0]
    assert [len(script.rules) for script in live] == [4]


def test_scripts_are_read_from_yaml_and_json(tmp_path: Path) -> None:
    script = {"seed": 3, "rules": [{"name": "late", "match": {"nth": 1}, "action": {"delay_ms": 10}}]}
    as_json, as_yaml = tmp_path / "faults.json", tmp_path / "faults.yaml"
    as_json.write_text(json.dumps(script))
    as_yaml.write_text("seed: 3\nrules:\n  - name: late\n    match: {nth: 1}\n    action: {delay_ms: 10}\n")
    assert load_script(as_json).script == load_script(as_yaml).script
    as_yaml.write_text("rules: [")
    with pytest.raises(ConfigError, match="is not YAML or JSON"):
        load_script(as_yaml)
    with pytest.raises(ConfigError, match="cannot read"):
        load_script(tmp_path / "none.yaml")
