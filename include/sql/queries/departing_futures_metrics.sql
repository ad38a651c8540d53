-- The metrics of one symbol in a month that leaves, as departing_ohlcv has bars; NULL is an empty field.
SELECT CONCAT_WS(',', %(place)s,
  ts, IFNULL(open_interest, ''), IFNULL(open_interest_value, ''), IFNULL(top_account_ratio, ''),
  IFNULL(top_position_ratio, ''), IFNULL(global_account_ratio, ''), IFNULL(taker_buy_sell_ratio, ''), source)
FROM {rows}
WHERE symbol = %(symbol)s AND ts >= %(first)s AND ts < %(last)s AND exchange = %(exchange)s
