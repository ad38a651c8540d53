"""Retention: what is kept for a time only, read from one file; what has outlived it, listed and removed."""
