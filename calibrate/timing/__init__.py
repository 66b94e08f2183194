"""What rounds, prefills and moves of KV caches take, and what the hardware would allow."""
