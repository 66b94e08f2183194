"""Reproductions of papers on recorded traces and measured profiles.

`lapsd.papers.reproduction.reproduce` runs one. A paper is a list of questions. A question is one
module: the sweeps that it needs, the tables that it finds, and the text and figures made of them.
"""
