"""Our own engine: speculative rounds of real models in continuous batches, under the simulator's
policies.
"""
