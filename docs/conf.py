"""The documentation's site: `make docs` builds it into build/docs; a warning, a broken link among them, stops it."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "site"))

from monosemy import __version__  # noqa: E402  # what is beside this file is found first

project = "monosemy"
author = copyright = "the authors of monosemy"
release = version = __version__

extensions = [
    "myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "generated_pages", "mathml", "plain_docstrings"
]  # fmt: skip
exclude_patterns = ["site", "generated/results/README.md"]
suppress_warnings = ["autodoc.mocked_object"]

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
myst_links_external_new_tab = False

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the signature has them
autodoc_preserve_defaults = True
autodoc_class_signature = "mixed"
python_use_unqualified_type_names = True
python_display_short_literal_types = True
python_maximum_signature_line_length = 88
add_module_names = False

html_theme = "furo"
html_title = f"monosemy {__version__}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_math_renderer = "mathml"
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#0b6e99", "color-brand-content": "#0b6e99"},
    "dark_css_variables": {"color-brand-primary": "#6cc4e8", "color-brand-content": "#6cc4e8"},
}
