"""The public archive data.binance.vision: what it is called there, how it is fetched, and what its files say."""
