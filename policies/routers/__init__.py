"""Routers, which choose the server of each request when it arrives."""

from lapsd.policies.routers.base import Routed, Router, RouterContext, Servers

__all__ = ["Routed", "Router", "RouterContext", "Servers"]
