"""Sphinx's settings. `make docs` builds the site; a warning, such as a link that leads nowhere, fails it."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from docs.generating import write_reference  # noqa: E402
from relay import __version__  # noqa: E402

project = "The relay"
author = "The relay's authors"
version = release = __version__
extensions = ["myst_parser"]
exclude_patterns = ["_build", "generating"]
myst_heading_anchors = 4
myst_links_external_new_tab = False
html_theme = "furo"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_title = "The relay"
pygments_dark_style = "native"
html_favicon = "../relay/web/dashboard/static/icon.svg"
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
html_show_copyright = False
nitpicky = True
# A JSON body in quotes, over several lines, is good shell; Pygments colours it all the same, and complains.
suppress_warnings = ["misc.highlighting_failure"]

write_reference(HERE / "reference")
