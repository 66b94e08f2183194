"""What is derived from a trace: replays, shuffles, mixes, models of acceptance, descriptions."""
