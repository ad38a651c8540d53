-- The open time of the oldest stored bar of a series. By the key's order, so that the server reads one entry of a partition
-- and stops; MIN and MAX would read all of them, because exchange is the key's last column.
SELECT ts
FROM ohlcv
WHERE symbol = %(symbol)s AND `interval` = %(interval)s AND exchange = %(exchange)s
ORDER BY ts ASC
LIMIT 1
