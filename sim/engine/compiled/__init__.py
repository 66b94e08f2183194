"""The compiled program: policies and the loop over flat arrays, made by Numba.

Its modules import Numba, which takes half a second, so they are imported when a simulation starts.
"""
