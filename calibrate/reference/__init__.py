"""The reference pair: a small LLaMA target and a draft ten times smaller, trained for this project.

The models are ordinary Hugging Face folders under `data/`, made by
`python -m lapsd.calibrate.reference`. `data/MODEL_CARD.md` describes the training data, the recipe
and the results.
"""

from pathlib import Path

DATA = Path(__file__).parent / "data"
REFERENCE_TARGET = DATA / "target"
"""Folder of the bundled target model: Path.

Examples
--------
>>> from lapsd.calibrate.reference import REFERENCE_TARGET
>>> (REFERENCE_TARGET / "config.json").is_file()
True
"""
REFERENCE_DRAFT = DATA / "draft"
"""Folder of the bundled draft model: Path.

Examples
--------
>>> from lapsd.calibrate.reference import REFERENCE_DRAFT
>>> (REFERENCE_DRAFT / "config.json").is_file()
True
"""

__all__ = ["REFERENCE_DRAFT", "REFERENCE_TARGET"]
