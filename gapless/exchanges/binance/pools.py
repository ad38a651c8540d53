"""Binance's request limits beside the weight; a module of its own, for who keeps a budget reads no rows (no Arrow)."""

from __future__ import annotations

FUNDING_POOL = "FUNDING"
"""The pool of fundingRate and fundingInfo: 500 requests in 5 minutes, outside the weight (reference 2.2)."""
FUTURES_DATA_POOL = "FUTURES_DATA"
"""The pool of `/futures/data/`: 1,000 requests in 5 minutes, outside the weight. Whether each endpoint has its own is
unconfirmed, so all share it."""
POOLS = {FUNDING_POOL: (500, 300_000), FUTURES_DATA_POOL: (1_000, 300_000)}
"""The exchange's limits: requests, and the window in ms."""
