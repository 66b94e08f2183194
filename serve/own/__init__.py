"""The project's own engine: speculative decoding of real models in continuous batches.

It serves under the same policies as the simulator.
"""
