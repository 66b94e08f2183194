"""Calibrating an engine that is not ours: what its own steps accept and cost."""
