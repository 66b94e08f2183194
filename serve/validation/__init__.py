"""The simulator held to live runs: its decisions, given their durations, and its foresight, given costs measured beside."""
