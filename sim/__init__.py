"""The simulator: serve recorded requests under scheduling policies, and compare what it costs
them.
"""
