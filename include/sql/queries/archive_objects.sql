-- The archive's objects on record whose period meets a window: months from the one that holds its start (month), days that
-- end after its start (day = a day before it). Times as integer milliseconds: Python makes no object of each.
-- The reader adds "AND symbol IN ..." where only some are wanted, which the symbol's index serves.
SELECT path, dataset, exchange, market, symbol, raw_symbol, `interval`, period,
  TIMESTAMPDIFF(SECOND, '1970-01-01', period_start) * 1000, state, checksum, etag, bytes, sha256, `rows`, refused,
  TIMESTAMPDIFF(MICROSECOND, '1970-01-01', first_ts) DIV 1000, TIMESTAMPDIFF(MICROSECOND, '1970-01-01', last_ts) DIV 1000,
  parser_version, detail, store,
  TIMESTAMPDIFF(MICROSECOND, '1970-01-01', checked_at) DIV 1000,
  TIMESTAMPDIFF(MICROSECOND, '1970-01-01', loaded_at) DIV 1000
FROM archive_object
WHERE dataset = %(dataset)s AND exchange = %(exchange)s AND market = %(market)s
  AND period_start >= %(month)s AND period_start < %(end)s AND (period = 'month' OR period_start > %(day)s)
