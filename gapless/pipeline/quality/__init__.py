"""The checks of a stored day: joined from what the stores hold, the books know and the rules say."""
