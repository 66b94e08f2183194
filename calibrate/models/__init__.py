"""Models ready to run: loading a pair, its forward passes, their kernels and graphs, KV memory."""
