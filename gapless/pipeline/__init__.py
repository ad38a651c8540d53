"""The steps as plain functions: a window in, a receipt out."""
