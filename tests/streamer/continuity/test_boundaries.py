"""Events for boundaries: one a Stream, and bounded when connections come and go."""

from __future__ import annotations

from gapless.domain.instrument import Market
from gapless.domain.live import GapEvent, Kind
from gapless.exchanges.binance.streams.names import Route, StreamSpec
from streamer.continuity.boundaries import Boundaries
from streamer.continuity.moment import Moment
from streamer.continuity.settings import ContinuitySettings

NOW_MS = 1_763_700_000_000


def spec(kind: Kind = Kind.TRADES, symbol: str = "BTC/USDT", interval: str = "") -> StreamSpec:
    return StreamSpec(kind, Market.SPOT, symbol, "BTCUSDT", f"btcusdt@{kind}{interval}", Route.SPOT, interval)


class Desk:
    def __init__(self) -> None:
        self.told: list[GapEvent] = []
        self.boundaries = Boundaries(ContinuitySettings(boundary_spacing_s=60.0), self.told.append)

    def at(self, seconds: float) -> Moment:
        ms = int(seconds * 1000)
        return Moment(ms * 1_000_000, (NOW_MS + ms) * 1_000_000, NOW_MS + ms)

    def ended(self, seconds: float, *, covered: bool = False) -> None:
        self.boundaries.ended([spec()], "code 1006", covered, self.at(seconds))

    def opened(self, seconds: float) -> None:
        self.boundaries.opened([spec()], self.at(seconds))

    def look(self, seconds: float) -> None:
        self.boundaries.look(self.at(seconds))

    def lines(self) -> list[tuple[str, int, bool, str]]:
        return [(event.reason, event.count, event.repaired, event.detail) for event in self.told]


def test_start_and_stop_are_told_once_a_stream_whatever_feeds_it() -> None:
    desk = Desk()
    fed = [spec(Kind.KLINES, interval="1m"), spec(Kind.KLINES, interval="1h"), spec()]
    desk.boundaries.started(fed, desk.at(0))
    desk.boundaries.stopped(fed, desk.at(9))
    assert [(event.kind, event.reason, event.count, event.at_ms) for event in desk.told] == [
        ("klines", "started", -1, NOW_MS),
        ("trades", "started", -1, NOW_MS),
        ("klines", "stopped", 0, NOW_MS + 9_000),
        ("trades", "stopped", 0, NOW_MS + 9_000),
    ]


def test_a_cut_is_told_at_once_and_its_length_when_the_spacing_is_over() -> None:
    desk = Desk()
    desk.ended(10)
    desk.opened(12.5)
    desk.look(69)
    assert desk.lines() == [("reconnect", -1, False, "cut: code 1006")]
    desk.look(70)
    assert desk.lines()[1:] == [("reconnect", -1, False, "carried again after 2.5 s: code 1006")]
    desk.look(200)
    desk.ended(300)
    assert len(desk.told) == 3


def test_a_rollover_that_another_connection_covered_misses_nothing() -> None:
    desk = Desk()
    desk.ended(10, covered=True)
    desk.opened(11)
    assert desk.lines() == [("rollover", 0, True, "replaced while another connection ran: code 1006")]


def test_flapping_costs_one_event_a_minute() -> None:
    desk = Desk()
    for second in range(0, 600, 2):
        desk.ended(second)
        desk.opened(second + 1)
        desk.look(second + 1)
    desk.look(700)
    assert len(desk.told) == 11
    assert desk.told[1].detail == "cut 30 times, carried again after 30.0 s: code 1006"


def test_a_stream_that_stays_away_is_told_when_it_comes_back() -> None:
    desk = Desk()
    desk.ended(0)
    desk.look(1_000)
    assert len(desk.told) == 1
    desk.opened(1_800)
    desk.look(1_801)
    assert desk.told[-1].detail == "carried again after 1800.0 s: code 1006"


def test_silence_is_told_and_what_is_untold_at_the_stop_is_told_then() -> None:
    desk = Desk()
    desk.boundaries.silent(spec(), 15.2, desk.at(0))
    desk.boundaries.silent(spec(), 30.4, desk.at(20))
    desk.boundaries.stopped([spec()], desk.at(30))
    assert [(reason, detail) for reason, _, _, detail in desk.lines()[:2]] == [
        ("silent", "silent: nothing for 15 s"),
        ("silent", "silent: nothing for 30 s"),
    ]
    assert desk.told[-1].reason == "stopped"
