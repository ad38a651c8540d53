"""The only rooms that know an exchange's wire."""
