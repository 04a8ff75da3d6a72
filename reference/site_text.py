"""Text of the checkout as text of the site: where a page stands, links between pages, docstrings as markup."""

import posixpath
import re

from reference.site_map import ROOT

PAGES = {"docs/README.md": "index.md", "README.md": "readme.md", "CONTRIBUTING.md": "contributing.md",
         "CHANGELOG.md": "changelog.md"}
"""Where a page stands on the site; other pages of docs/ stand there by their own name."""

FENCE = re.compile(r"(^(?:```|~~~).*?^(?:```|~~~)[^\n]*$|^    [^\n]*$)", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<!!)\[((?:`[^`]*`|[^\]`])*)\]\(([^)\s]+)\)|(!\[[^\]]*\])\(([^)\s]+)\)")

SPECIAL = re.compile(r"([*`|_\\<>:])")
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
    """A paragraph of plain text as reStructuredText: nothing in it is markup but ``code``."""
    parts = re.split(r"(``[^`]+``)", " ".join(text.split()))
    plain = "".join(part if k % 2 else SPECIAL.sub(r"\\\1", part) for k, part in enumerate(parts))
    return re.sub(r"^(\w{1,3}[.)]|\(\w+\)|[-+•#]) ", r"\\\g<0>", plain)


def as_markup(lines: list[str]) -> list[str]:
    """A docstring as reStructuredText: prose flows, everything that is aligned stays as it stands."""
    out: list[str] = []
    for paragraph in "\n".join(lines).strip("\n").split("\n\n"):
        rows = paragraph.strip("\n").split("\n")
        if any(map(ALIGNED.search, rows)):
            out += [".. code-block:: text", "", *("    " + row for row in rows), ""]
        elif rows[0].startswith(">>> "):
            out += [".. code-block:: pycon", "", *("    " + row for row in rows), ""]
        else:
            out += [prose(paragraph), ""]
    return out
