"""Order books: built from snapshots and diffs, each by itself, and never shown when they may be wrong."""
