-- Months on their way out of MySQL into the lake: what was brought, how it was proved, and what it allowed.

-- One row for each export of a month of a table; a late row re-opens a month that left, as another round.
-- state: copying (rows go to the lake), leaving (exchanged into a table of their own, out of every reader's sight),
-- verified (the lake was read back and holds every row), dropped (and MySQL holds them no longer),
-- restored (brought back into MySQL on purpose; hold_until says how long it stays there).
-- mark: number of rows and sum of their receipts, which any write changes. digest: sha256 over the manifest's objects.
-- beside: rows that the lake holds and the table did not. outranked: rows of which the lake knows better.
CREATE TABLE IF NOT EXISTS month_export (
  dataset        VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  month          DATE NOT NULL,
  round          INTEGER NOT NULL,
  state          VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  mark           VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  `rows`         BIGINT NOT NULL,
  series         BIGINT NOT NULL,
  beside         BIGINT NOT NULL,
  outranked      BIGINT NOT NULL,
  table_bytes    BIGINT NOT NULL,
  bytes          BIGINT NOT NULL,
  files          INTEGER NOT NULL,
  written        INTEGER NOT NULL,
  digest         CHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  manifest_uri   VARCHAR(512) NOT NULL,
  copy_seconds   DOUBLE NOT NULL,
  verify_seconds DOUBLE NOT NULL,
  begun_at       DATETIME(3) NOT NULL,
  verified_at    DATETIME(3) NULL,
  dropped_at     DATETIME(3) NULL,
  hold_until     DATETIME(3) NULL,
  PRIMARY KEY (dataset, month, round),
  KEY ix_month_export_state (state)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
