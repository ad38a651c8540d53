"""The exchange's WebSocket side as pure functions: stream names and routes, messages, the rules of its order books."""
