-- The newest run of each check of each dataset: its state, when it ended, and its result.
SELECT kind, dataset, state, TIMESTAMPDIFF(MICROSECOND, '1970-01-01', finished_at) DIV 1000, result
FROM (
  SELECT kind, dataset, state, finished_at, result,
    ROW_NUMBER() OVER (PARTITION BY kind, dataset ORDER BY finished_at DESC, identity DESC) AS place
  FROM check_run
) AS ranked
WHERE place = 1
ORDER BY kind, dataset
