"""Benchmarks of the live side: a feed of known content, a sender that is never the bottleneck, ours against others."""
