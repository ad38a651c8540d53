-- Of bars of one interval that open in [first, last): how many each symbol has, its oldest and its newest (seconds since
-- 1970). They are without a hole when the count is what the bounds span.
SELECT symbol, COUNT(*), TIMESTAMPDIFF(SECOND, '1970-01-01', MIN(ts)), TIMESTAMPDIFF(SECOND, '1970-01-01', MAX(ts))
FROM ohlcv
WHERE symbol IN %(symbols)s AND `interval` = %(interval)s AND ts >= %(first)s AND ts < %(last)s
  AND exchange = %(exchange)s
GROUP BY symbol
