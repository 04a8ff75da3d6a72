"""Text of the checkout as text of the site: where a page stands, links between pages, docstrings as the API."""

import ast
import inspect
import posixpath
import re
import textwrap

import npkd
from reference.site_map import ROOT, read, tree

PAGES = {"docs/README.md": "index.md", "README.md": "readme.md", "CONTRIBUTING.md": "contributing.md",
         "CHANGELOG.md": "changelog.md"}
"""Where a page stands on the site; other pages of docs/ stand there by their own name."""

FENCE = re.compile(r"(^(?:```|~~~).*?^(?:```|~~~)[^\n]*$|^    [^\n]*$)", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<!!)\[((?:`[^`]*`|[^\]`])*)\]\(([^)\s]+)\)|(!\[[^\]]*\])\(([^)\s]+)\)")

SPECIAL = re.compile(r"[*`|_\\<>\[\]$#{}~&]")
ALIGNED = re.compile(r"^\s|\S {3,}\S|^[-•] ")
"""A line of a docstring whose spaces mean something: a formula, a table, a list."""


def site_name(name: str) -> str | None:
    """Where a file of the checkout stands on the site, or None for what is no page or picture."""
    if name in PAGES:
        return PAGES[name]
    inside = name.startswith("docs/") and name.endswith((".md", ".png"))
    return name.removeprefix("docs/") if inside else None


def rewritten(text: str, name: str, sources: set[str]) -> str:
    """The Markdown of a page with its links as the site has them; adds the files that it links to."""
    here = posixpath.dirname(site_name(name) or "")

    def target(url: str) -> tuple[str, bool]:
        """A link as Sphinx resolves it, or as it stands in HTML."""
        path, _, anchor = url.partition("#")
        if not path or re.match(r"[a-z]+:", url):
            return url, False
        file = posixpath.normpath(posixpath.join(posixpath.dirname(name), path))
        place, anchor = site_name(file), f"#{anchor}" if anchor else ""
        if place is None:
            place = f"api/{file.split('/')[1]}.html" if (ROOT / file).is_dir() else f"source/{file}"
            if (ROOT / file).is_file():
                sources.add(file)
                place += ".html" * file.endswith(".py")
            return posixpath.relpath(place, here or ".") + anchor, True
        html = re.fullmatch(r"#[A-Z]\d+", anchor) is not None
        place = place.removesuffix(".md") + ".html" if html else place
        return posixpath.relpath(place, here or ".") + anchor, html

    def link(found: re.Match[str]) -> str:
        shown, url, picture, file = found.groups()
        if picture:
            return f"{picture}({target(file)[0]})"
        new, html = target(url)
        return f'<a class="reference" href="{new}">{shown}</a>' if html else f"[{shown}]({new})"

    parts = FENCE.split(text)
    return "".join(part if k % 2 else LINK.sub(link, part) for k, part in enumerate(parts))


def prose(text: str) -> str:
    """A paragraph of plain text as Markdown: nothing in it is markup but ``code``."""
    parts = re.split(r"``([^`]+)``", " ".join(text.split()))
    plain = "".join(f"`{part}`" if k % 2 else SPECIAL.sub(r"\\\g<0>", part) for k, part in enumerate(parts))
    return re.sub(r"^(\d+)([.)] )", r"\1\\\2", plain)


def as_markup(docstring: str) -> str:
    """A docstring as Markdown: prose flows, everything that is aligned stays as it stands."""
    out = []
    for paragraph in inspect.cleandoc(docstring).split("\n\n"):
        rows = paragraph.strip("\n").split("\n")
        language = "pycon" if rows[0].lstrip().startswith(">>> ") else "text"
        if language == "pycon" or any(map(ALIGNED.search, rows)):
            out.append(f"```{language}\n{textwrap.dedent(paragraph)}\n```")
        else:
            out.append(prose(paragraph))
    return "\n\n".join(out) + "\n"


def section(name: str, node: ast.AST, docs: str, before: str = "", level: int = 3) -> str:
    """Heading, definition as it stands in the source, and docstring of a function, a class or a constant."""
    lines = read(name).splitlines()
    first = min([getattr(node, "lineno", 1), *(d.lineno for d in getattr(node, "decorator_list", []))])
    body = getattr(node, "body", [])
    shown = lines[first - 1:body[0].lineno - 1 if body else getattr(node, "end_lineno", first)]
    if isinstance(node, ast.ClassDef):
        shown += [line for field in body if isinstance(field, ast.AnnAssign)
                  for line in lines[field.lineno - 1:field.end_lineno]]
        shown += [line for method in body if getattr(method, "name", "") == "__init__"
                  for line in lines[method.lineno - 1:method.body[0].lineno - 1]]
    title = before + (getattr(node, "name", "") or shown[0].partition("=")[0].partition(":")[0].strip())
    shown = shown if len(shown) < 40 else [*shown[:5], "    ..."]
    code = textwrap.dedent("\n".join(shown))
    target = f"{name.removesuffix('.py').replace('/', '.').removesuffix('.__init__')}.{title}"
    label = f"({target})=\n" if title in npkd.DOORS else ""
    return (f"{label}{'#' * level} {title.replace('_', chr(92) + '_')}\n\n```python\n{code}\n```\n\n"
            f"{as_markup(docs)}\n[source](../../{name}#L-{first})\n\n")


def api(name: str) -> str:
    """The public names of a module that have a docstring, in the order of the file, as Markdown from docs/api."""
    module, body = name.removesuffix(".py").replace("/", ".").removesuffix(".__init__"), tree(name).body
    out = f"## {module}\n\n{as_markup(ast.get_docstring(tree(name)) or '')}\n"
    for node, after in zip(body, [*body[1:], None], strict=True):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            docs = ast.get_docstring(node)
            out += section(name, node, docs) if docs else ""
            for method in node.body if isinstance(node, ast.ClassDef) else []:
                if isinstance(method, ast.FunctionDef) and not method.name.startswith("_"):
                    docs = ast.get_docstring(method)
                    out += section(name, method, docs, f"{node.name}.", 4) if docs else ""
        elif (isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(after, ast.Expr)
                and isinstance(after.value, ast.Constant) and isinstance(after.value.value, str)):
            out += section(name, node, after.value.value)
    return out
