"""Is a stored day plausible? Rules over many bars at once, beyond those that a single bar must pass. Pure."""
