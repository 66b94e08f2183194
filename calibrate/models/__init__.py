"""Models: loading a pair, forward passes, their kernels and graphs, and KV memory."""
