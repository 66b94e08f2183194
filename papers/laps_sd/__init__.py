"""Reproduction of LAPS-SD (Li, Chen and Li, arXiv 2505.17074): its claims and open questions."""
