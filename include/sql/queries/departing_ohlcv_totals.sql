-- What each series of a month that leaves adds up to, exactly; a column of values is summed under its own name. {rows} is
-- the partition, or the table that it was exchanged into; {keys} a condition on it. Times in seconds since the year 0.
-- Grouped along the key, which halves the time; so a group whose first and last exchange differ is asked for again, by
-- exchange.
SELECT MIN(exchange) AS exchange, MAX(exchange) AS last_exchange, symbol, `interval` AS label,
  COUNT(*) AS row_count, MIN(ts) AS first_ts, MAX(ts) AS last_ts, SUM(TO_SECONDS(ts)) AS ts_seconds,
  SUM(open) AS open, SUM(high) AS high, SUM(low) AS low, SUM(close) AS close,
  SUM(volume) AS volume, SUM(quote_volume) AS quote_volume, SUM(trades) AS trades,
  SUM(taker_buy_volume) AS taker_buy_volume, SUM(taker_buy_quote_volume) AS taker_buy_quote_volume
FROM {rows}
WHERE {keys}
GROUP BY symbol, `interval`
