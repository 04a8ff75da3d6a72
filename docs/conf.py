"""Settings of Sphinx for the site, which `python -m reference.site OUT` builds from a copy of this folder."""

import npkd
from reference import site_sphinx

project, author, copyright = "npkd", "The npkd authors", "The npkd authors, MIT licence"
version = release = npkd.__version__
language = "en"                                    # of en_GB Sphinx has words that break its search
root_doc = "index"

extensions = ["myst_parser"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4
highlight_language = "default"                     # Python where it is Python, else plain
html_math_renderer = "mathml"

html_theme = "furo"
html_title = f"npkd {release}"
html_static_path = ["static"]
html_css_files, html_js_files = ["site.css"], ["site.js"]
html_copy_source = html_show_sourcelink = False
html_domain_indices = False
pygments_style, pygments_dark_style = "a11y-high-contrast-light", "a11y-high-contrast-dark"


def setup(app):
    """Formulas and pages of source, as site_sphinx has them."""
    site_sphinx.setup(app)
