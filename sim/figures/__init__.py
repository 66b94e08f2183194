"""Figures: one colour per policy everywhere, units on every axis, intervals drawn."""
