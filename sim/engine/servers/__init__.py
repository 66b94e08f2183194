"""The servers: the specification, and two that skip ahead, with the same result."""
