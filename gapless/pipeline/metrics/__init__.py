"""The metrics of an installation, read from its books: what short-lived tasks counted survives them there."""

from gapless.pipeline.metrics.exchange_time import ExchangeTime
from gapless.pipeline.metrics.exporter import PATIENCE_S, Exporter, open_for_scrapes

__all__ = ["PATIENCE_S", "ExchangeTime", "Exporter", "open_for_scrapes"]
