"""An exchange on loopback: Binance's own protocols, served from recorded or generated data, with scripted faults."""
