"""The same policies on real engines, and the simulator held to what happens there."""
