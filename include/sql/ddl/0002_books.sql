-- What a history is made of: the archive's objects, and how complete each series is, month by month.

-- The archive's objects as they were when last looked at. path is theirs below the archive's root.
-- state: loaded, rejected. checksum: verified, mismatch, absent. store: where the rows went, '' where nowhere.
CREATE TABLE IF NOT EXISTS archive_object (
  path           VARCHAR(255) NOT NULL,
  dataset        VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  exchange       VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  market         VARCHAR(8) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  symbol         VARCHAR(32) NOT NULL,
  raw_symbol     VARCHAR(32) NOT NULL,
  `interval`     VARCHAR(8) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  period         VARCHAR(8) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  period_start   DATE NOT NULL,
  state          VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  checksum       VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  etag           VARCHAR(128) NOT NULL,
  bytes          BIGINT NOT NULL,
  sha256         CHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  `rows`         BIGINT NOT NULL,
  refused        BIGINT NOT NULL,
  first_ts       DATETIME(3) NULL,
  last_ts        DATETIME(3) NULL,
  parser_version INTEGER NOT NULL,
  detail         TEXT NOT NULL,
  store          VARCHAR(8) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  checked_at     DATETIME(3) NOT NULL,
  loaded_at      DATETIME(3) NULL,
  PRIMARY KEY (path),
  KEY ix_archive_object_period (dataset, exchange, market, period_start),
  KEY ix_archive_object_symbol (symbol, dataset, exchange, period_start)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- How complete a series is in a month and a store: counts of bars that open in [window_start, window_end), the settled
-- part of the month. outside: bars stored though the instrument did not live then. state: whole, partial.
CREATE TABLE IF NOT EXISTS series_month (
  dataset      VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  exchange     VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  symbol       VARCHAR(32) NOT NULL,
  `interval`   VARCHAR(8) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  month        DATE NOT NULL,
  store        VARCHAR(8) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  market       VARCHAR(8) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  window_start DATETIME(3) NOT NULL,
  window_end   DATETIME(3) NOT NULL,
  expected     BIGINT NOT NULL,
  present      BIGINT NOT NULL,
  unfillable   BIGINT NOT NULL,
  outside      BIGINT NOT NULL,
  state        VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  sources      VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  done_at      DATETIME(3) NOT NULL,
  PRIMARY KEY (dataset, exchange, symbol, `interval`, month, store),
  KEY ix_series_month_month (dataset, exchange, market, month),
  KEY ix_series_month_symbol (symbol, dataset, exchange, month)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
