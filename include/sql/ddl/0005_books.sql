-- Liquidations as the stream told them: a sample of the exchange's choosing (at most one a symbol and second), so that
-- sums over them are lower bounds. The exchange has no history of them.

-- side: of the order that closed the position: SELL = a long was liquidated. ts: when it traded, event_at: when the
-- exchange told it, received_at: when it was received here. sequence: 0, 1, ... among those of one symbol and
-- millisecond, in the order in which they came here. identity: sha256 over all that tells one from another; the same
-- one received again is no row.
CREATE TABLE IF NOT EXISTS liquidation (
  exchange             VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  symbol               VARCHAR(32) NOT NULL,
  ts                   DATETIME(3) NOT NULL,
  sequence             INTEGER NOT NULL,
  side                 VARCHAR(8) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  order_type           VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  time_in_force        VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  quantity             DECIMAL(28, 8) NOT NULL,
  price                DECIMAL(20, 8) NOT NULL,
  average_price        DECIMAL(20, 8) NOT NULL,
  status               VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  last_quantity        DECIMAL(28, 8) NOT NULL,
  accumulated_quantity DECIMAL(28, 8) NOT NULL,
  event_at             DATETIME(3) NOT NULL,
  received_at          DATETIME(3) NOT NULL,
  identity             CHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  PRIMARY KEY (exchange, symbol, ts, sequence),
  UNIQUE KEY uq_liquidation_identity (identity),
  KEY ix_liquidation_ts (ts)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
