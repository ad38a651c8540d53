-- The funding settlements of some symbols with first <= ts < last, one CSV line each, in the order of the canonical
-- columns; NULL is an empty field. See ohlcv_window.
SELECT CONCAT_WS(',',
  CONCAT('"', REPLACE(symbol, '"', '""'), '"'), CONCAT('"', REPLACE(rate_type, '"', '""'), '"'), ts, exchange_ts, rate,
  IFNULL(interval_hours, ''), IFNULL(mark_price, ''), source, receipt_id)
FROM funding_rate
WHERE symbol IN %(symbols)s AND ts >= %(first)s AND ts < %(last)s AND exchange = %(exchange)s
