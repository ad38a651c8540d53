-- How many bars each series holds of those that open in [first, last), and its newest, for summaries.
SELECT symbol, `interval`, COUNT(*), MAX(ts)
FROM ohlcv
WHERE exchange = %(exchange)s AND ts >= %(first)s AND ts < %(last)s
GROUP BY symbol, `interval`
ORDER BY symbol, `interval`
