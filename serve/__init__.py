"""The same policies on real engines, and the comparison of the simulator with those engines."""
