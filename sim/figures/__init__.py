"""Figures: tables and names in, pictures out.

One colour a policy everywhere, units on every axis, intervals drawn.

Imports nothing else of `sim`, and matplotlib only when a figure is drawn.
"""
