-- The open times of one series' bars with first <= ts < last, in seconds since 1970, in no promised order.
SELECT TIMESTAMPDIFF(SECOND, '1970-01-01', ts)
FROM ohlcv
WHERE symbol IN %(symbols)s AND `interval` = %(interval)s
  AND ts >= %(first)s AND ts < %(last)s AND exchange = %(exchange)s
