"""Sphinx's configuration of the documentation: `make docs`."""

import sys
from pathlib import Path

from sphinx.application import Sphinx

from harness import __version__, devices

devices.configure()  # before anything imports JAX

project = "BCE harness"
release = __version__
html_title = f"{project} {release}"
html_theme = "furo"
html_show_copyright = False
html_copy_source = False
html_static_path = ["_static"]
html_css_files = ["wide.css"]
html_theme_options = {"navigation_with_keys": True}

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
myst_heading_anchors = 3
myst_enable_extensions = ["deflist", "colon_fence"]
autodoc_typehints = "none"  # of arrays: names of dimensions, which are no references
autodoc_member_order = "bysource"


def setup(app: Sphinx) -> None:
    """The reference is written from the code before the pages are read."""

    def write(app: Sphinx) -> None:
        sys.path.insert(0, str(app.confdir))
        from reference_pages import write_all

        write_all(Path(app.srcdir) / "reference" / "generated")

    app.connect("builder-inited", write)
