-- As departing_ohlcv_totals; of columns that may be NULL also how many values there are. exchange_ts is summed as
-- milliseconds since 1970.
SELECT MIN(exchange) AS exchange, MAX(exchange) AS last_exchange, symbol, rate_type AS label,
  COUNT(*) AS row_count, MIN(ts) AS first_ts, MAX(ts) AS last_ts, SUM(TO_SECONDS(ts)) AS ts_seconds,
  SUM(TIMESTAMPDIFF(MICROSECOND, '1970-01-01', exchange_ts) DIV 1000) AS exchange_ts, SUM(rate) AS rate,
  SUM(interval_hours) AS interval_hours, COUNT(interval_hours) AS interval_hours_known,
  SUM(mark_price) AS mark_price, COUNT(mark_price) AS mark_price_known
FROM {rows}
WHERE {keys}
GROUP BY symbol, rate_type
