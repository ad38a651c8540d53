"""The WebSocket sidecar: live depth, trades and bars to Redis Streams."""
