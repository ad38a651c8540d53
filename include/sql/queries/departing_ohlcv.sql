-- One series of a month that leaves, first <= ts < last, one CSV line each, which begins with the series' place among
-- those asked for together (UNION ALL). Both servers walk the key and sort nothing; the reader looks. {rows} is the
-- partition, or the table that it was exchanged into. See ohlcv_window.
SELECT CONCAT_WS(',', %(place)s,
  ts, open, high, low, close, volume, quote_volume, trades, taker_buy_volume, taker_buy_quote_volume, source)
FROM {rows}
WHERE symbol = %(symbol)s AND `interval` = %(interval)s AND ts >= %(first)s AND ts < %(last)s
  AND exchange = %(exchange)s
