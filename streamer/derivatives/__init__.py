"""What perpetuals have beside prices and no stream tells: open interest, its newest value and its history.

Mark price, index, the running funding rate and its next time come by the stream of mark prices
(`streamer.channels.states`), liquidations by theirs and, on to MySQL, by `streamer.bars`.
"""
