-- page_key: the page that told somebody of the gap. next_try_at: when the next attempt to fill it is due.
ALTER TABLE data_gap_log
  ADD COLUMN page_key VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NULL,
  ADD COLUMN next_try_at DATETIME(3) NULL;
