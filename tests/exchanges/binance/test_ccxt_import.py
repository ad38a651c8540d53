"""ccxt's two classes load alone, and an ordinary import of ccxt afterwards is unharmed."""

from __future__ import annotations

import subprocess
import sys

import pytest

LIGHT = """
import sys
from gapless.domain.instrument import Market
from gapless.exchanges.binance.ccxt_import import ccxt_class
um, spot = ccxt_class(Market.UM), ccxt_class(Market.SPOT)
assert (um.__name__, spot.__name__) == ("binanceusdm", "binance"), (um, spot)
assert "ccxt.kraken" not in sys.modules and "ccxt" not in sys.modules
"""
AFTER = """
import ccxt, ccxt.async_support, ccxt.pro
assert ccxt.async_support.binanceusdm is um and ccxt.async_support.binance is spot
assert issubclass(ccxt.BadSymbol, ccxt.BaseError) and ccxt.kraken and ccxt.pro.binanceusdm
"""
BEFORE = """
import ccxt.async_support
from gapless.domain.instrument import Market
from gapless.exchanges.binance.ccxt_import import ccxt_class
assert ccxt_class(Market.UM) is ccxt.async_support.binanceusdm
"""


@pytest.mark.parametrize("code", [LIGHT, LIGHT + AFTER, BEFORE], ids=["alone", "then whole", "whole first"])
def test_import(code: str) -> None:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
