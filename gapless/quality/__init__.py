"""Is it true? Rules over bars, and what is said of those that break them."""
