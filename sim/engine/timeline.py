"""Placeholder."""


class Timeline: ...
