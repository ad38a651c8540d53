"""The live Streams on their way into the lake: taken to a disk spool, then published by the hour."""
