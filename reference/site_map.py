"""From each formula of the book to its line of code, its naive definition and its tests, found by its tag."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EXPLAINED = re.compile(r"\\tag\*\{\((\w+)\)\}")
ROW = re.compile(r"^\| \(([A-Z]\d+)\) \| ([^|]+) \| ([^|]*`[^|]+) \| ([^|]+) \|", re.MULTILINE)
"""A row of the table in docs/sources.md: tag, what, places in the code, papers."""


@cache
def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


@cache
def files(folder: str) -> list[str]:
    return sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / folder).rglob("*.py"))


def chapters() -> list[str]:
    """The pages of the book in reading order."""
    pages = [f"docs/book/{path.name}" for path in (ROOT / "docs" / "book").glob("*.md")]
    return sorted(pages, key=lambda page: int(page.split("/")[-1].split("-")[0]))


@cache
def tree(name: str) -> ast.Module:
    return ast.parse(read(name))


@cache
def span(place: str) -> tuple[int, int]:
    """First and last line of ``path/to/file.py:Class.method``; (0, 0) where there is no such name."""
    name, _, dotted = place.partition(":")
    node: ast.AST = tree(name)
    first, last = (1, len(read(name).splitlines())) if not dotted else (0, 0)
    for part in dotted.split(".") if dotted else []:
        found = [child for child in ast.iter_child_nodes(node)
                 if getattr(child, "name", None) == part or getattr(getattr(child, "target", None), "id", None) == part
                 or part in {getattr(target, "id", None) for target in getattr(child, "targets", [])}]
        if not found:
            return 0, 0
        node, first, last = found[0], getattr(found[0], "lineno", 0), getattr(found[0], "end_lineno", 0)
    return first, last


def line_of(place: str, text: str = "") -> int:
    """The line where a name is defined, or the last in it that has a text: the formula itself, not the docstring."""
    first, last = span(place)
    lines = read(place.partition(":")[0]).splitlines()
    found = [n for n in range(first, last + 1) if text and text in lines[n - 1]]
    return found[-1] if found else first


def link(place: str, text: str = "", shown: str = "") -> str:
    """A Markdown link, as from docs/, to the line of a place."""
    name, _, dotted = place.partition(":")
    shown = shown or (f"{name.split('/')[-1]}:{dotted}" if dotted else name.split("/")[-1])
    return f"[`{shown}`](../{name}#L-{line_of(place, text)})"


def definitions(tag: str) -> list[str]:
    return [link(name, f"({tag})", name.removeprefix("reference/definitions/"))
            for name in files("reference/definitions") if f"({tag})" in read(name)]


@cache
def tests_of(place: str) -> list[str]:
    """The function's cases in the catalogue or, without any, the tests that import its module and name it."""
    name, _, dotted = place.partition(":")
    function, module = dotted.split(".")[0] or "?", name.removesuffix(".py").replace("/", ".")
    room, _, last = module.rpartition(".")
    cases = {file: re.search(rf'Case\("[^"]*", {function}\b', read(file)) for file in files("tests")}
    found = [link(file, case[0]) for file, case in cases.items() if case]
    if not found:
        imports = re.compile(rf"^from ({re.escape(module)} import|{re.escape(room)} import .*\b{last}\b)", re.MULTILINE)
        direct = [file for file in files("tests") if imports.search(read(file))]
        named = [file for file in direct if function in read(file).partition("\ndef ")[2]]
        found = [link(file, function) for file in (named or direct)[:2]]
    return found


def tests(tag: str, place: str) -> list[str]:
    """Where a formula is held to account: evaluated by its tag, and the tests of its function."""
    evaluated = f'"{tag}"' in read("tests/test_formulas.py")
    return [link("tests/test_formulas.py", f'"{tag}"')] * evaluated + tests_of(place)


def rows() -> Iterator[tuple[str, str, str, str, str, str, str]]:
    """(chapter, tag, what, code, definitions, tests, papers), all but the first two as Markdown seen from docs/."""
    table = {tag: rest for tag, *rest in ROW.findall(read("docs/sources.md"))}
    for chapter in chapters():
        for tag in EXPLAINED.findall(read(chapter)):
            what, code, papers = table[tag]
            places = re.findall(r"`([^`]+)`", code)
            yield (chapter, tag, what, "; ".join(link(place, f"({tag})") for place in places),
                   "; ".join(definitions(tag)), "; ".join(tests(tag, places[0])), papers)


def page() -> str:
    """The thesis reader's map, as Markdown of a page in docs/."""
    out = ["# The thesis reader's map", "",
           "From each formula of the book to the line that computes it, the naive definition that it is compared with "
           "(gradients have none: they are held against finite differences of the function's), and the tests that "
           "fail when it is wrong. Every step is a link; the tag in the code and in the book is the same.", ""]
    before = ""
    for chapter, tag, *cells in rows():
        if chapter != before:
            before, title = chapter, read(chapter).splitlines()[0].removeprefix("# ")
            out += ["", f"## [{title}]({chapter.removeprefix('docs/')})", "",
                    "| formula | what | code | definition | tests | source |", "| --- | --- | --- | --- | --- | --- |"]
        cells = [f"[({tag})]({chapter.removeprefix('docs/')}#{tag})", *(cell or "–" for cell in cells)]
        out.append(f"| {' | '.join(cells)} |")
    return "\n".join(out) + "\n"
