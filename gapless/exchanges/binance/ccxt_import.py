"""ccxt's two Binance classes without importing its other hundred exchanges, nor what it needs to sign orders.

Plain `import ccxt.async_support` runs every exchange's module twice: 4.2 s of CPU and 117 MB for each short-lived
process (ccxt 4.5.90, measured; the two classes alone: 0.8 s and 69 MB). The package names are therefore stood in for
while the two modules load; then all of ccxt is taken back, so that a later `import ccxt` elsewhere in the process is
the ordinary one, with classes of its own. Drop this when ccxt imports its exchanges lazily.

Its base class also imports requests, for the synchronous exchanges, and cryptography, for signatures: another 15 MB,
neither of use to who asks for public data by aiohttp. To that one module each of them is an empty name; nobody else's
imports are touched. A ccxt laid out differently is imported in the plain way.
"""

from __future__ import annotations

import builtins
import importlib
import importlib.util
import sys
import threading
from types import ModuleType
from typing import Any

from gapless.domain.instrument import Market

_CLASSES = {Market.SPOT: "binance", Market.UM: "binanceusdm"}
_STANDINS = ("ccxt", "ccxt.base", "ccxt.async_support")
_UNUSED = ("cryptography", "requests")
_lock = threading.Lock()
_loaded: dict[Market, Any] = {}


def ccxt_class(market: Market) -> Any:
    """The asynchronous ccxt class of a market: `binance` for spot, `binanceusdm` for USD-M."""
    with _lock:
        if not _loaded:
            _loaded.update(_load())
        return _loaded[market]


def _load() -> dict[Market, Any]:
    if not any(package in sys.modules for package in _STANDINS):
        try:
            return _load_alone()
        except (ImportError, AttributeError):
            pass
    return _classes()


def _load_alone() -> dict[Market, Any]:
    spec = importlib.util.find_spec("ccxt")
    if spec is None or not spec.submodule_search_locations:
        raise ImportError("ccxt is no package here")
    root = spec.submodule_search_locations[0]
    try:
        for package in _STANDINS:
            standin = ModuleType(package)
            standin.__path__ = [root + package.removeprefix("ccxt").replace(".", "/")]
            sys.modules[package] = standin
        top = sys.modules["ccxt"]
        vars(top).update(vars(importlib.import_module("ccxt.base.errors")) | {"__name__": "ccxt"})
        vars(top)["Exchange"] = _import_light("ccxt.base.exchange").Exchange
        return _classes()
    finally:
        for module in [each for each in sys.modules if each.partition(".")[0] == "ccxt"]:
            del sys.modules[module]


def _classes() -> dict[Market, Any]:
    return {
        market: getattr(importlib.import_module(f"ccxt.async_support.{name}"), name)
        for market, name in _CLASSES.items()
    }


def _import_light(name: str) -> ModuleType:
    """A module to which what is unused is `_Nothing`, by an `__import__` of its own."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.loader is None:
        raise ImportError(f"{name} is not there")
    module = importlib.util.module_from_spec(spec)
    vars(module)["__builtins__"] = vars(builtins) | {"__import__": _import}
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


class _AnyName(type):
    def __getattr__(cls, name: str) -> _AnyName:
        if name.startswith("__"):
            raise AttributeError(name)
        return cls


class _Nothing(Exception, metaclass=_AnyName):
    """Whatever is imported from an unused package: any name, and any name of those."""


def _import(name: str, *others: Any) -> Any:
    return _Nothing if name.partition(".")[0] in _UNUSED else __import__(name, *others)
