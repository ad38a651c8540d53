"""Nothing missing unseen: trade ids without holes, closed bars without holes, and an event for each boundary."""
