"""The exchange's public archive of ZIP files, on loopback."""
