"""ccxt's two classes load alone and light, and an ordinary import of ccxt afterwards is unharmed."""

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
assert issubclass(um, spot) and (ccxt_class(Market.UM), ccxt_class(Market.SPOT)) == (um, spot)
assert not {"ccxt", "ccxt.kraken", "requests", "urllib3", "cryptography"} & sys.modules.keys()
"""
AFTER = """
import ccxt, ccxt.async_support, ccxt.pro, requests
assert (ccxt_class(Market.UM), ccxt_class(Market.SPOT)) == (um, spot)
assert isinstance(ccxt.binance().session, requests.Session)
assert ccxt.Exchange.eddsa(b"text", bytes(32))
assert issubclass(ccxt.BadSymbol, ccxt.BaseError) and ccxt.kraken and ccxt.pro.binanceusdm
"""
BEFORE = """
import ccxt.async_support
from gapless.domain.instrument import Market
from gapless.exchanges.binance.ccxt_import import ccxt_class
assert ccxt_class(Market.UM) is ccxt.async_support.binanceusdm
assert ccxt_class(Market.SPOT) is ccxt.async_support.binance
"""


@pytest.mark.parametrize("code", [LIGHT, LIGHT + AFTER, BEFORE], ids=["alone", "then whole", "whole first"])
def test_import(code: str) -> None:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
