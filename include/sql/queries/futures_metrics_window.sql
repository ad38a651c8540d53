-- The futures metrics of some symbols with first <= ts < last, one CSV line each, in the order of the canonical columns;
-- NULL is an empty field. See ohlcv_window.
SELECT CONCAT_WS(',',
  CONCAT('"', REPLACE(symbol, '"', '""'), '"'), ts,
  IFNULL(open_interest, ''), IFNULL(open_interest_value, ''), IFNULL(top_account_ratio, ''),
  IFNULL(top_position_ratio, ''), IFNULL(global_account_ratio, ''), IFNULL(taker_buy_sell_ratio, ''),
  source, receipt_id)
FROM futures_metrics
WHERE symbol IN %(symbols)s AND ts >= %(first)s AND ts < %(last)s AND exchange = %(exchange)s
