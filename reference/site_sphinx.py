"""What the site adds to Sphinx: formulas as MathML, docstrings as they stand, and a page for each file of source."""

import json
import re
import shutil
from collections.abc import Iterator
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

from reference.site_map import ROOT, line_of
from reference.site_text import as_markup

logger = logging.getLogger(__name__)
CONVERTER = LatexToMathML(fancy_error=False)
TAG = re.compile(r"\\tag\*\{\((\w+)\)\}")


def mathml(node: nodes.Element, display: bool) -> str:
    """Presentation MathML of a formula; one that is not understood is a warning, which ends the build."""
    latex = re.sub(r"(?<!\\)\\\n", r"\\ ", TAG.sub("", node.astext()))
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


def process_docstring(_app: Any, _what: str, _name: str, _obj: Any, _options: Any, lines: list[str]) -> None:
    lines[:] = as_markup(lines)


def linkcode_resolve(_domain: str, info: dict[str, str]) -> str | None:
    """The line of a name on the page of its source, as seen from a page of the API."""
    path = info["module"].replace(".", "/")
    file = f"{path}.py" if (ROOT / f"{path}.py").is_file() else f"{path}/__init__.py"
    line = line_of(f"{file}:{info['fullname']}")
    return f"../source/{file}.html#L-{line}" if line else None


def source_pages(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    """(name, context, template) of a page for each file that the staged pages link to; data is copied as it is."""
    formatter = HtmlFormatter(linenos="inline", lineanchors="L", cssclass="highlight source", wrapcode=True)
    for name in json.loads((Path(app.srcdir) / "sources.json").read_text(encoding="utf-8")):
        if name.endswith(".py"):
            text = (ROOT / name).read_text(encoding="utf-8")
            body = f"<h1>{escape(name)}</h1>\n{highlight(text, PythonLexer(stripnl=False), formatter)}"
            yield f"source/{name}", {"title": name, "body": body}, "page.html"
        else:
            (Path(app.outdir) / "source" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, Path(app.outdir) / "source" / name)


def setup(app: Sphinx) -> None:
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_math_block, None))
    app.connect("autodoc-process-docstring", process_docstring)
    app.connect("html-collect-pages", source_pages)
