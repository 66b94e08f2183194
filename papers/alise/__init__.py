"""Reproduction of ALISE (Zhao and Wang, arXiv 2410.23537)."""
