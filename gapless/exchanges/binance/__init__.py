"""Binance's wire: REST, its clock, its symbols and its payloads, for spot and USD-M perpetual futures."""
