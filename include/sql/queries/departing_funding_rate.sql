-- The funding settlements of one symbol in a month that leaves, as departing_ohlcv has bars; NULL is an empty field.
SELECT CONCAT_WS(',', %(place)s,
  CONCAT('"', REPLACE(rate_type, '"', '""'), '"'), ts, exchange_ts, rate,
  IFNULL(interval_hours, ''), IFNULL(mark_price, ''), source)
FROM {rows}
WHERE symbol = %(symbol)s AND ts >= %(first)s AND ts < %(last)s AND exchange = %(exchange)s
