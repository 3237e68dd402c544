"""How the documentation is built: `make docs`."""

from __future__ import annotations

import sys
from importlib.metadata import version as installed
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # the directives of generated.py

project = "dmcl_sdk"
author = "the authors of dmcl_sdk"
version = release = installed("dmcl-sdk")

extensions = [
    "generated",
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
]
exclude_patterns = ["_build"]
nitpicky = False  # half of the types in signatures belong to packages whose pages are elsewhere

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
suppress_warnings = [
    "myst.xref_ambiguous",  # the model card is a page of its own, and names itself
]

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
python_use_unqualified_type_names = True

html_theme = "furo"
html_title = f"dmcl_sdk {version}"
html_show_copyright = False
html_copy_source = False

copybutton_prompt_text = "$ "
