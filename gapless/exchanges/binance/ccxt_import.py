"""ccxt's two Binance classes without importing its other hundred exchanges.

Plain `import ccxt.async_support` runs every exchange's module twice: 4.2 s of CPU and 117 MB for each short-lived
process (ccxt 4.5.90, measured; the two classes alone: 0.8 s and 69 MB). The package names are therefore
stood in for while the two modules load, then given back, so that a later `import ccxt` elsewhere in the process is
the ordinary one and meets the same classes. Drop this when ccxt imports its exchanges lazily. A ccxt laid out
differently is imported in the plain way.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import threading
from types import ModuleType
from typing import Any

from gapless.domain.instrument import Market

_CLASSES = {Market.SPOT: "binance", Market.UM: "binanceusdm"}
_STANDINS = ("ccxt", "ccxt.async_support")
_lock = threading.Lock()


def ccxt_class(market: Market) -> Any:
    """The asynchronous ccxt class of a market: `binance` for spot, `binanceusdm` for USD-M."""
    name = _CLASSES[market]
    with _lock:
        if not any(package in sys.modules for package in _STANDINS):
            _load_alone(name)
        module = sys.modules.get(f"ccxt.async_support.{name}")
        if module is None:
            module = importlib.import_module(f"ccxt.async_support.{name}")
    return getattr(module, name)


def _load_alone(name: str) -> None:
    spec = importlib.util.find_spec("ccxt")
    if spec is None or not spec.submodule_search_locations:
        return
    root = spec.submodule_search_locations[0]
    for package in _STANDINS:
        standin = ModuleType(package)
        standin.__path__ = [root + package.removeprefix("ccxt").replace(".", "/")]
        sys.modules[package] = standin
    try:
        top = sys.modules["ccxt"]
        vars(top).update(vars(importlib.import_module("ccxt.base.errors")) | {"__name__": "ccxt"})
        vars(top)["Exchange"] = importlib.import_module("ccxt.base.exchange").Exchange
        importlib.import_module(f"ccxt.async_support.{name}")
    except (ImportError, AttributeError):
        for module in [each for each in sys.modules if each.startswith("ccxt.")]:
            del sys.modules[module]
    finally:
        for package in _STANDINS:
            sys.modules.pop(package, None)
