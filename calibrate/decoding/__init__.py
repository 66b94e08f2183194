"""Speculative decoding of requests, and checks of its outputs."""
