"""The reference pair: a small LLaMA target and a draft ten times smaller, trained for this project.

Ordinary Hugging Face folders under `data/`, made by `python -m lapsd.calibrate.reference`;
`data/MODEL_CARD.md` says from what, how, and how well.
"""

from pathlib import Path

DATA = Path(__file__).parent / "data"
REFERENCE_TARGET = DATA / "target"
REFERENCE_DRAFT = DATA / "draft"

__all__ = ["REFERENCE_DRAFT", "REFERENCE_TARGET"]
