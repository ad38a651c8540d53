-- The books: what is listed, what was loaded, archived, restated, refused, and what is missing.
-- Plain tables; gapless/storage/mysql/books.py has the same definitions for queries, and a test holds the two equal.

-- Which origin this installation's data has: one row, for ever.
CREATE TABLE IF NOT EXISTS installation (
  id         TINYINT NOT NULL,
  origin     VARCHAR(64) NOT NULL,
  created_at DATETIME(3) NOT NULL,
  PRIMARY KEY (id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Instruments as the exchange lists them today; listed_at and delisted_at are those of the last life.
CREATE TABLE IF NOT EXISTS instrument (
  exchange            VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  symbol              VARCHAR(32) NOT NULL,
  market              VARCHAR(8) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  raw_symbol          VARCHAR(32) NOT NULL,
  base                VARCHAR(32) NOT NULL,
  quote               VARCHAR(32) NOT NULL,
  status              VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  tick_size           DECIMAL(38, 18) NULL,
  step_size           DECIMAL(38, 18) NULL,
  contract_multiplier BIGINT NOT NULL,
  listed_at           DATETIME(3) NULL,
  delisted_at         DATETIME(3) NULL,
  seen_at             DATETIME(3) NOT NULL,
  PRIMARY KEY (exchange, symbol)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- A ticker can live twice. listed_at 1970-01-01 stands for "the exchange does not say" (spot).
CREATE TABLE IF NOT EXISTS instrument_life (
  exchange    VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  symbol      VARCHAR(32) NOT NULL,
  listed_at   DATETIME(3) NOT NULL,
  raw_symbol  VARCHAR(32) NOT NULL,
  delisted_at DATETIME(3) NULL,
  PRIMARY KEY (exchange, symbol, listed_at)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- What a load brought. The id stands in every row that it brought; it follows from batch_key and ordinal, so that an
-- undisturbed run and one that was killed and repeated give the same.
CREATE TABLE IF NOT EXISTS load_receipt (
  id           BIGINT UNSIGNED NOT NULL,
  batch_key    CHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  ordinal      INTEGER NOT NULL,
  dataset      VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  exchange     VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  market       VARCHAR(8) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  scope        CHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  window_start DATETIME(3) NOT NULL,
  window_end   DATETIME(3) NOT NULL,
  complete     BOOL NOT NULL,
  `rows`       BIGINT NOT NULL,
  loaded       BIGINT NOT NULL,
  restated     BIGINT NOT NULL,
  `unchanged`  BIGINT NOT NULL,
  outranked    BIGINT NOT NULL,
  quarantined  BIGINT NOT NULL,
  digest       CHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  loaded_at    DATETIME(3) NOT NULL,
  archived_at  DATETIME(3) NULL,
  PRIMARY KEY (id),
  UNIQUE KEY uq_load_receipt_batch (batch_key, ordinal),
  KEY ix_load_receipt_window (market, window_end)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Which series receipts cover: per scope one row for each set of symbols that shares a set of intervals (JSON lists).
CREATE TABLE IF NOT EXISTS load_scope (
  scope     CHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  intervals VARCHAR(128) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  symbols   MEDIUMTEXT NOT NULL,
  PRIMARY KEY (scope, intervals)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Live objects of the lake, each read back. The id follows from the URI.
CREATE TABLE IF NOT EXISTS archive_receipt (
  id             BIGINT UNSIGNED NOT NULL,
  uri            VARCHAR(512) NOT NULL,
  dataset        VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  exchange       VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  `interval`     VARCHAR(8) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  period_start   DATETIME(3) NOT NULL,
  `rows`         BIGINT NOT NULL,
  bytes          BIGINT NOT NULL,
  sha256         CHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  content_digest CHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  state          VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  verified_at    DATETIME(3) NOT NULL,
  PRIMARY KEY (id),
  UNIQUE KEY uq_archive_receipt_uri (uri),
  KEY ix_archive_receipt_period (dataset, exchange, `interval`, period_start)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- What each object holds, a line a series and day, with the digest that two installations can compare.
CREATE TABLE IF NOT EXISTS archive_series (
  dataset            VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  exchange           VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  symbol             VARCHAR(32) NOT NULL,
  `interval`         VARCHAR(8) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  day                DATE NOT NULL,
  `rows`             BIGINT NOT NULL,
  sha256             CHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  archive_receipt_id BIGINT UNSIGNED NOT NULL,
  PRIMARY KEY (dataset, exchange, symbol, `interval`, day),
  KEY ix_archive_series_receipt (archive_receipt_id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Closed bars whose values the exchange changed later: old and new, as JSON objects of exact strings.
CREATE TABLE IF NOT EXISTS restatement (
  id             BIGINT NOT NULL AUTO_INCREMENT,
  dataset        VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  exchange       VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  symbol         VARCHAR(32) NOT NULL,
  `interval`     VARCHAR(8) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  ts             DATETIME(3) NOT NULL,
  store          VARCHAR(8) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  old_values     TEXT NOT NULL,
  new_values     TEXT NOT NULL,
  old_source     INTEGER NOT NULL,
  new_source     INTEGER NOT NULL,
  old_receipt_id BIGINT UNSIGNED NULL,
  receipt_id     BIGINT UNSIGNED NULL,
  noticed_at     DATETIME(3) NOT NULL,
  PRIMARY KEY (id),
  KEY ix_restatement_bar (symbol, `interval`, ts, exchange)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Rows that broke a rule, with their raw payload. identity is a hash of what was refused, so that reading the same
-- wrong row again adds nothing.
CREATE TABLE IF NOT EXISTS quarantine (
  id         BIGINT NOT NULL AUTO_INCREMENT,
  identity   CHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  dataset    VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  exchange   VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  symbol     VARCHAR(64) NOT NULL,
  `interval` VARCHAR(8) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  ts         DATETIME(3) NULL,
  reason     VARCHAR(64) NOT NULL,
  detail     TEXT NOT NULL,
  payload    MEDIUMTEXT NOT NULL,
  batch_key  CHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  first_seen DATETIME(3) NOT NULL,
  PRIMARY KEY (id),
  UNIQUE KEY uq_quarantine_identity (identity),
  KEY ix_quarantine_bar (symbol, `interval`, ts)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Maximal runs of missing bars: [gap_start, gap_end) on open time, and what became of each.
-- state: open, refilling, filled, unfillable (the exchange has none either), failed (attempts spent, somebody was told).
CREATE TABLE IF NOT EXISTS data_gap_log (
  id           BIGINT NOT NULL AUTO_INCREMENT,
  exchange     VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  symbol       VARCHAR(32) NOT NULL,
  dataset      VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  `interval`   VARCHAR(8) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  gap_start    DATETIME(3) NOT NULL,
  gap_end      DATETIME(3) NOT NULL,
  bars         BIGINT NOT NULL,
  attempts     INTEGER NOT NULL,
  state        VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  cause        TEXT NOT NULL,
  noticed_at   DATETIME(3) NOT NULL,
  changed_at   DATETIME(3) NOT NULL,
  page_sent_at DATETIME(3) NULL,
  PRIMARY KEY (id),
  UNIQUE KEY uq_data_gap_log_gap (exchange, symbol, dataset, `interval`, gap_start),
  KEY ix_data_gap_log_state (state)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
