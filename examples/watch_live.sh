#!/bin/sh
# What is now of one symbol, from the live Streams: best prices, the last trade, then every trade as it comes.
#   GAPLESS_REDIS_URL=redis://... examples/watch_live.sh BTC/USDT:USDT [TRADES]
# Needs redis-cli 7 and jq; docs/redis.md has the keys and fields. Ends after so many trades, if a number is given.
symbol=${1:?a symbol, such as BTC/USDT:USDT} left=${2:--1} id='$'
# redis-cli wants a user before the password; without one it is `default`.
url=$(printf '%s' "${GAPLESS_REDIS_URL:?where Redis is}" | sed 's#//:#//default:#')
ask() { redis-cli -u "$url" --no-auth-warning --raw "$@"; }

ask GET "book.top.binance.$symbol" | jq -r '"book \(.state): \(.bids[0] | join(" x ")) / \(.asks[0] | join(" x "))"'
ask GET "last.trades.binance.$symbol" | jq -r '"last trade (\(.state)): \(.data.p) x \(.data.q)"'
while [ "$left" -ne 0 ]; do
    # An entry is its id, then fields and values by turns: e, r, i, d; the payload follows its name.
    entry=$(ask XREAD COUNT 1 BLOCK 5000 STREAMS "md.trades.binance.$symbol" "$id") || exit 1
    [ -n "$entry" ] || continue
    id=$(printf '%s\n' "$entry" | sed -n 2p)
    printf '%s\n' "$entry" | sed -n '/^d$/{n;p;}' | jq -r '"\(.a)  \(.p) x \(.q)"'
    left=$((left - 1))
done
