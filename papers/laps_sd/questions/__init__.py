"""What the LAPS-SD paper leaves open, a module a question."""
