"""One channel a stream of the exchange: its payloads decoded, put in order, each once, and handed on."""
