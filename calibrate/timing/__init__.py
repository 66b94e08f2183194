"""Times of rounds, prefills and KV transfers, and their lower bounds on the hardware."""
