"""The LAPS-SD paper (Li, Chen and Li, arXiv 2505.17074): its claims, and the questions it leaves
open.
"""
