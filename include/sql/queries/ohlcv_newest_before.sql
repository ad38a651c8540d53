-- The open time (seconds since 1970) of the newest stored bar of a series that opens before a moment; by the key's order,
-- so that the server reads one entry.
SELECT TIMESTAMPDIFF(SECOND, '1970-01-01', ts)
FROM ohlcv
WHERE symbol = %(symbol)s AND `interval` = %(interval)s AND exchange = %(exchange)s AND ts < %(before)s
ORDER BY ts DESC
LIMIT 1
