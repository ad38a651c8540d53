-- What each series of a month that leaves adds up to, exactly; a column of values is summed under its own name. {rows} is
-- the partition, or the table that it was exchanged into; {keys} a condition on it. Times in seconds since the year 0.
SELECT exchange, symbol, `interval` AS label, COUNT(*) AS row_count, MIN(ts) AS first_ts, MAX(ts) AS last_ts,
  SUM(TO_SECONDS(ts)) AS ts_seconds, SUM(open) AS open, SUM(high) AS high, SUM(low) AS low, SUM(close) AS close,
  SUM(volume) AS volume, SUM(quote_volume) AS quote_volume, SUM(trades) AS trades,
  SUM(taker_buy_volume) AS taker_buy_volume, SUM(taker_buy_quote_volume) AS taker_buy_quote_volume
FROM {rows}
WHERE {keys}
GROUP BY exchange, symbol, `interval`
