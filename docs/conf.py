"""Sphinx configuration; `make docs` builds with warnings as errors."""

import inspect
from importlib import metadata

project = "genoweave"
author = "The genoweave developers"
copyright = author
try:
    release = metadata.version("genoweave")
except metadata.PackageNotFoundError:  # pages other than api.md can be built without the package
    release = "unknown"

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.napoleon"]
source_suffix = {".md": "myst-nb"}
exclude_patterns = ["_build", "jupyter_execute"]

# Code blocks are run by tests/docs/test_code_blocks.py, notebooks by `make notebooks`.
nb_execution_mode = "off"
myst_enable_extensions = ["amsmath", "attrs_inline", "deflist", "dollarmath"]
myst_heading_anchors = 3

napoleon_google_docstring = False
napoleon_numpy_docstring = True
napoleon_use_rtype = False
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_default_options = {"members": True, "exclude-members": "model_config, model_post_init"}
autosummary_generate = False

html_theme = "pydata_sphinx_theme"
html_title = "genoweave"
html_show_sourcelink = False
html_theme_options = {"show_prev_next": False, "navigation_with_keys": False}


def _skip_foreign(_app, _what, _name, obj, _skip, _options):
    """Leave out what the package only passes on: other projects' docstrings are theirs."""
    foreign = not (getattr(obj, "__module__", None) or "genoweave").startswith("genoweave")
    return True if foreign and (inspect.isclass(obj) or inspect.isroutine(obj)) else None


def setup(app):
    app.connect("autodoc-skip-member", _skip_foreign)
