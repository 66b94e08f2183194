"""Prompts: three bundled sets that need no download, and prompts from JSONL files."""

from lapsd.calibrate.prompts.problems import question_prompt
from lapsd.calibrate.prompts.sets import PROMPT_SETS, Prompt, bundled_prompts, read_prompts

__all__ = ["PROMPT_SETS", "Prompt", "bundled_prompts", "question_prompt", "read_prompts"]
