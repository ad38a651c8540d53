"""Gapless: crypto market data with nothing missing."""

from gapless.errors import (
    Banned,
    ConfigError,
    ExchangeError,
    GaplessError,
    LakeShrink,
    NotFound,
    RateLimited,
    StorageError,
    ValidationError,
)

__version__ = "0.1.0"

__all__ = [
    "Banned",
    "ConfigError",
    "ExchangeError",
    "GaplessError",
    "LakeShrink",
    "NotFound",
    "RateLimited",
    "StorageError",
    "ValidationError",
    "__version__",
]
