-- How complete series are in the months that meet a window, one line a month and store; '' stands for any store.
-- The reader adds "AND symbol IN ..." where only some are wanted, which the symbol's index serves.
SELECT dataset, exchange, market, symbol, `interval`, TIMESTAMPDIFF(SECOND, '1970-01-01', month) * 1000, store,
  TIMESTAMPDIFF(MICROSECOND, '1970-01-01', window_start) DIV 1000,
  TIMESTAMPDIFF(MICROSECOND, '1970-01-01', window_end) DIV 1000,
  expected, present, unfillable, outside, state, sources, TIMESTAMPDIFF(MICROSECOND, '1970-01-01', done_at) DIV 1000
FROM series_month
WHERE dataset = %(dataset)s AND exchange = %(exchange)s AND market = %(market)s
  AND month >= %(month)s AND month < %(end)s AND %(store)s IN ('', store)
