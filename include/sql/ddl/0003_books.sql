-- What the daily checks leave: their results, the totals that outlive their processes, doubtful rows, pages.

-- One row for each check of a window: what it found, as a JSON object. Done again, its row is replaced.
-- state: clean, dirty (it found something), failed (it could not be done).
CREATE TABLE IF NOT EXISTS check_run (
  identity     CHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  kind         VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  dataset      VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  window_start DATETIME(3) NOT NULL,
  window_end   DATETIME(3) NOT NULL,
  state        VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  result       MEDIUMTEXT NOT NULL,
  link         TEXT NOT NULL,
  started_at   DATETIME(3) NOT NULL,
  finished_at  DATETIME(3) NOT NULL,
  PRIMARY KEY (identity),
  KEY ix_check_run_kind (kind, finished_at)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Totals that only grow, for metrics of processes that end. labels: a JSON object, keys in order.
CREATE TABLE IF NOT EXISTS counter (
  name   VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  labels VARCHAR(191) NOT NULL,
  total  BIGINT NOT NULL,
  PRIMARY KEY (name, labels)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Stored rows that look wrong though they break no rule, for a person's yes or no. The rows themselves stay.
-- row_values: the row as it was, a JSON object of exact strings. state: waiting, accepted, rejected,
-- superseded (the exchange has other values now).
CREATE TABLE IF NOT EXISTS review (
  id         BIGINT NOT NULL AUTO_INCREMENT,
  identity   CHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  dataset    VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  exchange   VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  symbol     VARCHAR(32) NOT NULL,
  `interval` VARCHAR(8) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  ts         DATETIME(3) NOT NULL,
  rule       VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  measured   VARCHAR(64) NOT NULL,
  allowed    VARCHAR(64) NOT NULL,
  detail     TEXT NOT NULL,
  row_values TEXT NOT NULL,
  state      VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  noticed_at DATETIME(3) NOT NULL,
  decided_at DATETIME(3) NULL,
  decided_by VARCHAR(64) NOT NULL,
  note       TEXT NOT NULL,
  PRIMARY KEY (id),
  UNIQUE KEY uq_review_identity (identity),
  KEY ix_review_state (state)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- What a person was told of. page_key is the receiver's name of it too, so that telling twice is telling once.
-- state: sending, sent, resolving, resolved.
CREATE TABLE IF NOT EXISTS page (
  page_key    VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  kind        VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  summary     TEXT NOT NULL,
  detail      MEDIUMTEXT NOT NULL,
  state       VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  created_at  DATETIME(3) NOT NULL,
  sent_at     DATETIME(3) NULL,
  resolved_at DATETIME(3) NULL,
  PRIMARY KEY (page_key),
  KEY ix_page_state (state)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
