-- The open times (seconds since 1970) of some symbols' bars with first <= ts < last, in no promised order.
SELECT symbol, TIMESTAMPDIFF(SECOND, '1970-01-01', ts)
FROM ohlcv
WHERE symbol IN %(symbols)s AND `interval` = %(interval)s
  AND ts >= %(first)s AND ts < %(last)s AND exchange = %(exchange)s
