-- Bars, keyed by their open time (UTC), in the same shape for every exchange.
--
-- Symbol first in the key: one symbol's day is one short range (27 ms at 23 M rows where a key with ts first needs
-- 99 to 150). Exchange last: ranges work with and without it. `interval` is a reserved word, hence the quotes.
-- Months are split from p_before and pmax, which always stay empty: see gapless/storage/mysql/partitions.py.
CREATE TABLE IF NOT EXISTS ohlcv (
  symbol                 VARCHAR(32) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
  `interval`             ENUM('1m', '5m', '15m', '1h', '4h', '1d') NOT NULL,
  ts                     DATETIME NOT NULL,
  exchange               VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  open                   DECIMAL(20, 8) NOT NULL,
  high                   DECIMAL(20, 8) NOT NULL,
  low                    DECIMAL(20, 8) NOT NULL,
  close                  DECIMAL(20, 8) NOT NULL,
  volume                 DECIMAL(28, 8) NOT NULL,
  quote_volume           DECIMAL(28, 8) NOT NULL,
  trades                 INT UNSIGNED NOT NULL,
  taker_buy_volume       DECIMAL(28, 8) NOT NULL,
  taker_buy_quote_volume DECIMAL(28, 8) NOT NULL,
  source                 TINYINT UNSIGNED NOT NULL,
  receipt_id             BIGINT UNSIGNED NOT NULL,
  PRIMARY KEY (symbol, `interval`, ts, exchange)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
PARTITION BY RANGE COLUMNS (ts) (
  PARTITION p_before VALUES LESS THAN ('1970-01-01'),
  PARTITION pmax VALUES LESS THAN (MAXVALUE)
);
