"""What the site adds to Sphinx: formulas as MathML, and a page for each file of source."""

import json
import re
from html import escape
from pathlib import Path
from typing import Any

from docutils import nodes
from math_core import LatexError, LatexToMathML
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer
from sphinx.application import Sphinx
from sphinx.util import logging

from reference.site_map import ROOT

logger = logging.getLogger(__name__)
CONVERTER = LatexToMathML(fancy_error=False)
TAG = re.compile(r"\\tag\*\{\((\w+)\)\}")
LARGE = re.compile(r"(\\[bB]igg?r\s*(?:\\[A-Za-z]+|.))(?=\s*[_^])")
"""A large closing sign with an index or a power, which browsers do not make large unless these stand apart."""


def mathml(node: nodes.Element, display: bool) -> str:
    """Presentation MathML of a formula; one that is not understood is a warning, which ends the build."""
    latex = re.sub(r"(?<!\\)\\\n", r"\\ ", TAG.sub("", node.astext()))
    latex = LARGE.sub(r"\1{}", latex)
    try:
        return CONVERTER.convert_with_local_state(latex, displaystyle=display)
    except LatexError as error:
        logger.warning("formula %r: %s", latex, error, location=node)
        return f"<code>{escape(latex)}</code>"


def visit_math(self: Any, node: nodes.math) -> None:
    self.body.append(mathml(node, display=False))
    raise nodes.SkipNode


def visit_math_block(self: Any, node: nodes.math_block) -> None:
    """A formula that scrolls inside itself, with its tag at the right and as its anchor."""
    tag = TAG.search(node.astext())
    name, shown = (f' id="{tag[1]}"', f"<span>({tag[1]})</span>") if tag else ("", "")
    self.body.append(f'<div class="formula"{name}>{mathml(node, display=True)}{shown}</div>\n')
    raise nodes.SkipNode


PLAIN = re.compile(r'<span class="(?:n|p|w|o|nn)">([^<]*)</span>')
"""Names and signs, most of what source is made of, need no colour: pages of source load twice as fast."""

SOURCE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{name}</title><link rel="stylesheet" href="{root}_static/pygments.css">
<link rel="stylesheet" href="{root}_static/source.css"><script defer src="{root}_static/site.js"></script></head>
<body data-theme="auto"><script>document.body.dataset.theme = localStorage.getItem("theme") || "auto"</script><main>
<p><a href="{root}index.html">npkd</a></p><h1>{name}</h1>{code}</main></body></html>"""


def write_sources(app: Sphinx, error: Exception | None) -> None:
    """A page for each file of source that the pages link to, without the theme's frame; data is copied as it is."""
    formatter = HtmlFormatter(linenos="inline", lineanchors="L")
    for name in [] if error else json.loads((Path(app.srcdir) / "sources.json").read_text(encoding="utf-8")):
        path = Path(app.outdir) / "source" / (name + ".html" * name.endswith(".py"))
        path.parent.mkdir(parents=True, exist_ok=True)
        text = (ROOT / name).read_text(encoding="utf-8")
        if name.endswith(".py"):
            code = PLAIN.sub(r"\1", highlight(text, PythonLexer(stripnl=False), formatter))
            text = SOURCE.format(name=name, root="../" * (name.count("/") + 1), code=code)
        path.write_text(text, encoding="utf-8")


def setup(app: Sphinx) -> None:
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_math_block, None))
    app.connect("build-finished", write_sources)
