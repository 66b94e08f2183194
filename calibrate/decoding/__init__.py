"""Speculative decoding of requests, and checks that its outputs are what they must be."""
