-- applied: 1 = the new values replaced the old ones; 0 = they were refused, their source ranks lower, and the old ones
-- stand. interval holds the rate type where the dataset is funding, and nothing where a dataset has no such column.
ALTER TABLE restatement
  MODIFY COLUMN `interval` VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  ADD COLUMN applied BOOL NOT NULL DEFAULT 1;
