-- As departing_ohlcv_totals; of columns that may be NULL also how many values there are.
SELECT MIN(exchange) AS exchange, MAX(exchange) AS last_exchange, symbol, '' AS label,
  COUNT(*) AS row_count, MIN(ts) AS first_ts, MAX(ts) AS last_ts, SUM(TO_SECONDS(ts)) AS ts_seconds,
  SUM(open_interest) AS open_interest, COUNT(open_interest) AS open_interest_known,
  SUM(open_interest_value) AS open_interest_value, COUNT(open_interest_value) AS open_interest_value_known,
  SUM(top_account_ratio) AS top_account_ratio, COUNT(top_account_ratio) AS top_account_ratio_known,
  SUM(top_position_ratio) AS top_position_ratio, COUNT(top_position_ratio) AS top_position_ratio_known,
  SUM(global_account_ratio) AS global_account_ratio, COUNT(global_account_ratio) AS global_account_ratio_known,
  SUM(taker_buy_sell_ratio) AS taker_buy_sell_ratio, COUNT(taker_buy_sell_ratio) AS taker_buy_sell_ratio_known
FROM {rows}
WHERE {keys}
GROUP BY symbol
