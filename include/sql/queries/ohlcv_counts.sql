-- How many bars each series holds of those that open in [first, last). Nothing but the key is read.
-- The reader adds "AND symbol IN ..." and "AND `interval` IN ..." before the grouping where only some are wanted.
SELECT symbol, `interval`, COUNT(*)
FROM ohlcv
WHERE exchange = %(exchange)s AND ts >= %(first)s AND ts < %(last)s
