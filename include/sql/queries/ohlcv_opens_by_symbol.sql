-- The open times of some symbols' bars in one interval with first <= ts < last, in seconds since 1970, in no promised
-- order. See ohlcv_opens.
SELECT symbol, TIMESTAMPDIFF(SECOND, '1970-01-01', ts)
FROM ohlcv
WHERE symbol IN %(symbols)s AND `interval` = %(interval)s
  AND ts >= %(first)s AND ts < %(last)s AND exchange = %(exchange)s
