"""Where data rests: MySQL, the lake, Redis."""
