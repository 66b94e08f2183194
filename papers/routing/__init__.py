"""Order, router and draft policy on several servers: which of the three decisions matters when?"""
