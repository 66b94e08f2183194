"""The site: Sphinx reads the pages from the root of the repository, so that their relative links
are the same there and here. `_ext` writes the pages of the API and of the commands.
"""

import sys
from importlib.metadata import version as version_of
from pathlib import Path

DOCS = Path(__file__).parent
ROOT = DOCS.parent
sys.path.insert(0, str(DOCS / "_ext"))

project, author = "lapsd", "The lapsd authors"
copyright = author
release = version = version_of("lapsd")

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "myst_parser",
    "sphinx_copybutton",
    "navigation",
    "api_pages",
    "command_pages",
    "llms_txt",
]
root_doc = "docs/index" if (DOCS / "index.md").exists() else "README"
include_patterns = [
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "calibrate/reference/data/MODEL_CARD.md",
    "docs/**",
]
exclude_patterns = [
    "**/.*",
    ".*",
    "build",
    "demo",
    "tests",
    "notebooks",
    "docs/_*",
    "*.egg-info",
    "**/__pycache__",
]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
nitpicky = True
# annotations with types of other libraries, whose sites cannot be read while this one is built
nitpick_ignore_regex = [("py:class", r"(?!lapsd\.).*"), ("py:obj", ".*")]
default_role = "py:obj"  # in docstrings, `name` is code, and a link where the name has an entry
highlight_language = "none"

myst_heading_anchors = 4
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autodoc_member_order = "bysource"
autosummary_generate = False
python_maximum_signature_line_length = 88
numpydoc_show_class_members = False
numpydoc_attributes_as_param_list = True
copybutton_prompt_text = r">>> |\.\.\. "
copybutton_prompt_is_regexp = True

smartquotes = False  # quotes and dashes are those of the text, in options too

html_theme = "furo"
html_title = f"lapsd {release}"
html_static_path = ["_static"]
html_css_files = ["lapsd.css"]
html_copy_source = True
