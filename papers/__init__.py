"""Papers, reproduced and questioned on measured traces and profiles:
`lapsd.papers.reproduction.reproduce`.

A paper is a list of questions; a question is one module, which holds what it needs, finds, draws
and says.
"""
