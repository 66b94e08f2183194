"""Questions that the LAPS-SD paper leaves open, one module each."""
