"""Fits of integer cost terms to timings, and of predicted lengths to recorded outputs."""
