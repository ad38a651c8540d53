"""Recorded streams behind the interface of the live market: played again at a pace, beside the snapshots taken then."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from gapless.domain.instrument import Market
from gapless.errors import ConfigError
from replica.live.messages import LiveMessage
from replica.live.payloads import book_hash
from replica.live.recordings import Session, read_sessions
from replica.live.rest import depth_query, trades_query
from replica.query import Params, symbol_of
from replica.refusal import invalid_symbol, not_replicated

_REST_TRADE = ("a", "p", "q", "nq", "f", "l", "T", "m", "M")


class _Player:
    """One session: it begins when the first of its streams is listened to, and what nobody listens to passes by."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.streams = {message.stream for _, message in session.messages}
        self.begun_ms: int | None = None
        self.at = 0

    def play(self, now_ms: int, pace: float, watched: Counter[tuple[Market, str]]) -> list[tuple[float, LiveMessage]]:
        if self.begun_ms is None:
            return []
        messages, until = self.session.messages, (now_ms - self.begun_ms) * pace
        first = self.at
        while self.at < len(messages) and messages[self.at][0] <= until:
            self.at += 1
        market = self.session.market
        return [
            (self.begun_ms + at_ms / pace, message)
            for at_ms, message in messages[first : self.at]
            if (market, message.stream) in watched
        ]


class RecordedLive:
    """Recordings of streams, played.

    Args:
        root: a folder with recordings (`recordings` tells which kinds).
        now_ms: the replica's clock.
        pace: recorded milliseconds in one of the clock's.

    Raises:
        ConfigError: there are none, or the pace is not positive.
    """

    def __init__(self, root: Path, now_ms: Callable[[], int], pace: float = 1.0) -> None:
        if not pace > 0:
            raise ConfigError(f"the pace of a recording is a positive number, not {pace}")
        self._clock, self._pace = now_ms, pace
        self._players = [_Player(session) for session in read_sessions(root)]
        self._watched: Counter[tuple[Market, str]] = Counter()

    @property
    def symbols(self) -> dict[Market, list[str]]:
        """The raw symbols recorded, by market."""
        found: dict[Market, set[str]] = {market: set() for market in Market}
        for player in self._players:
            found[player.session.market] |= {message.raw_symbol for _, message in player.session.messages}
        return {market: sorted(symbols) for market, symbols in found.items()}

    @property
    def over(self) -> bool:
        """Whether all that was begun has been played to its end."""
        return all(player.begun_ms is None or player.at == len(player.session.messages) for player in self._players)

    def knows(self, market: Market, stream: str) -> bool:
        return self._player_of(market, stream) is not None

    def watch(self, market: Market, stream: str) -> None:
        player = self._player_of(market, stream)
        if player is None:
            return
        self._watched[market, stream] += 1
        if player.begun_ms is None:
            player.begun_ms = self._clock()

    def unwatch(self, market: Market, stream: str) -> None:
        if self._watched[market, stream] > 1:
            self._watched[market, stream] -= 1
        else:
            del self._watched[market, stream]

    def advance(self, now_ms: int) -> list[LiveMessage]:
        told = [each for player in self._players for each in player.play(now_ms, self._pace, self._watched)]
        told.sort(key=lambda each: each[0])
        return [message for _, message in told]

    def activity(
        self, changes: Mapping[str, Any], *, market: Market | None = None, symbols: Iterable[str] | None = None
    ) -> None:
        raise ConfigError("activity: a recording is as busy as it was")

    def truth(self, market: Market, raw_symbol: str, update_id: int | None = None) -> dict[str, Any]:
        """The book as the recorded snapshot and diffs make it: after the last diff up to `update_id`, or of those
        played. What a snapshot lacks beyond its depth is lacking here too."""
        player = self._player_with(market, raw_symbol)
        snapshot = json.loads(player.session.snapshots[raw_symbol])
        known = snapshot["lastUpdateId"]
        if update_id is not None and update_id < known:
            raise ConfigError(f"{market} {raw_symbol}: update {update_id} is not known; the snapshot is of {known}")
        sides = [dict(snapshot[side]) for side in ("bids", "asks")]
        played = player.session.messages[: player.at if update_id is None else None]
        for _, message in played:
            if (
                message.kind != "depth"
                or message.raw_symbol != raw_symbol
                or message.last_id <= snapshot["lastUpdateId"]
            ):
                continue
            if update_id is not None and message.last_id > update_id:
                break
            diff, known = json.loads(message.data), message.last_id
            for side, name in zip(sides, ("b", "a"), strict=True):
                for price, quantity in diff[name]:
                    if quantity.strip("0."):
                        side[price] = quantity
                    else:
                        side.pop(price, None)
        bids, asks = (
            [[price, side[price]] for price in sorted(side, key=Decimal, reverse=reverse)]
            for side, reverse in zip(sides, (True, False), strict=True)
        )
        truth = {"update_id": known, "bids": bids, "asks": asks, "hash": book_hash(bids, asks)}
        if update_id is not None:
            return truth
        trades = [message for _, message in played if message.kind == "trades" and message.raw_symbol == raw_symbol]
        ids = {"first_trade_id": trades[0].last_id, "last_trade_id": trades[-1].last_id} if trades else {}
        return {**truth, **ids, "now_ms": self._clock()}

    def trades_between(self, market: Market, raw_symbol: str, first: int, last: int) -> list[dict[str, Any]]:
        player = self._player_with(market, raw_symbol)
        made = []
        for _, message in player.session.messages[: player.at]:
            if message.kind == "trades" and message.raw_symbol == raw_symbol and first <= message.last_id <= last:
                trade = json.loads(message.data)
                made.append({name: trade[name] for name in _REST_TRADE if name in trade})
        return made

    def answer(self, market: Market, name: str, params: Params, now_ms: int) -> bytes:
        """REST as far as it was recorded: the snapshot (one for all times), and trades played so far by `fromId`."""
        symbol = symbol_of(params)
        player = next((each for each in self._players_of(market) if symbol in each.session.snapshots), None)
        if player is None:
            raise invalid_symbol()
        if name == "depth":
            body = player.session.snapshots[symbol]
            _, limit = depth_query(market, params)
            snapshot = json.loads(body)
            if limit >= len(snapshot["bids"]) and limit >= len(snapshot["asks"]):
                return body
            snapshot.update({side: snapshot[side][:limit] for side in ("bids", "asks")})
            return json.dumps(snapshot, separators=(",", ":")).encode()
        if name != "aggTrades":
            raise not_replicated(f"{name} of recorded streams")
        from_id, start_ms, end_ms, limit = trades_query(market, params)
        if start_ms is not None or end_ms is not None:
            raise not_replicated("aggTrades by time of recorded streams")
        trades = self.trades_between(market, symbol, from_id or 0, 1 << 62)
        return json.dumps(trades[-limit:] if from_id is None else trades[:limit], separators=(",", ":")).encode()

    def _players_of(self, market: Market) -> list[_Player]:
        return [player for player in self._players if player.session.market is market]

    def _player_of(self, market: Market, stream: str) -> _Player | None:
        return next((player for player in self._players_of(market) if stream in player.streams), None)

    def _player_with(self, market: Market, raw_symbol: str) -> _Player:
        for player in self._players_of(market):
            if raw_symbol in player.session.snapshots:
                return player
        raise ConfigError(f"no {market} recording of {raw_symbol}")
