"""How much to draft: draft policies compared by batch size, load and order of requests."""
