"""The exchange's live side: what its streams say, what its REST says about the same truth, and an oracle."""
