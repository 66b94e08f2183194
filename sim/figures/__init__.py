"""Functions that draw figures from tables.

Each policy has one colour in all figures. Axes have units, and intervals are drawn.

Imports nothing else of `sim`, and matplotlib only when a figure is drawn.
"""
