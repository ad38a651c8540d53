-- The bars of some symbols in one interval with first <= ts < last, one CSV line each: decimals stay the exact text
-- that the server holds, and the driver makes no Python objects of them. In no promised order: asking for one makes
-- MariaDB sort a whole day before it sends the first line, and the reader compares by key anyway.
SELECT CONCAT_WS(',',
  CONCAT('"', REPLACE(symbol, '"', '""'), '"'), ts, open, high, low, close, volume, quote_volume, trades,
  taker_buy_volume, taker_buy_quote_volume, source, receipt_id)
FROM ohlcv
WHERE symbol IN %(symbols)s AND `interval` = %(interval)s
  AND ts >= %(first)s AND ts < %(last)s AND exchange = %(exchange)s
