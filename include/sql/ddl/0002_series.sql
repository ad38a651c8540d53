-- Funding and futures metrics, keyed and partitioned like the bars: see 0001_ohlcv.sql.

-- Funding settlements. ts is the nominal time, exchange_ts the exchange's own, a few milliseconds late. The archive says
-- interval_hours and not mark_price, REST the other way round: NULL = no source has said it yet.
CREATE TABLE IF NOT EXISTS funding_rate (
  symbol         VARCHAR(32) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
  ts             DATETIME NOT NULL,
  exchange       VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  rate_type      VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  exchange_ts    DATETIME(3) NOT NULL,
  rate           DECIMAL(20, 12) NOT NULL,
  interval_hours TINYINT UNSIGNED NULL,
  mark_price     DECIMAL(20, 8) NULL,
  source         TINYINT UNSIGNED NOT NULL,
  receipt_id     BIGINT UNSIGNED NOT NULL,
  PRIMARY KEY (symbol, ts, exchange, rate_type)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
PARTITION BY RANGE COLUMNS (ts) (
  PARTITION p_before VALUES LESS THAN ('1970-01-01'),
  PARTITION pmax VALUES LESS THAN (MAXVALUE)
);

-- Open interest and ratios of USD-M perpetuals; ts is the start of the five minutes. NULL = the exchange left it blank.
CREATE TABLE IF NOT EXISTS futures_metrics (
  symbol               VARCHAR(32) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
  ts                   DATETIME NOT NULL,
  exchange             VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  open_interest        DECIMAL(38, 14) NULL,
  open_interest_value  DECIMAL(38, 14) NULL,
  top_account_ratio    DECIMAL(24, 10) NULL,
  top_position_ratio   DECIMAL(24, 10) NULL,
  global_account_ratio DECIMAL(24, 10) NULL,
  taker_buy_sell_ratio DECIMAL(24, 10) NULL,
  source               TINYINT UNSIGNED NOT NULL,
  receipt_id           BIGINT UNSIGNED NOT NULL,
  PRIMARY KEY (symbol, ts, exchange)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
PARTITION BY RANGE COLUMNS (ts) (
  PARTITION p_before VALUES LESS THAN ('1970-01-01'),
  PARTITION pmax VALUES LESS THAN (MAXVALUE)
);
