"""docs/ and the code say the same: tags both ways, quoted source, examples that run, links, and everything that is
named exists."""

import ast
import doctest
import importlib
import importlib.util
import io
import json
import re
import sys
import textwrap
import tokenize
from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from npkd.cli.parser import COMMANDS
from reference.benchmarks import figures, first_screen, overfitting

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
BOOK = sorted((DOCS / "book").glob("*.md"), key=lambda page: int(page.name.split("-")[0]))
PAGES = [*BOOK, *(page for page in sorted(DOCS.rglob("*.md")) if page not in BOOK)]
TEXTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *PAGES]
CODE = sorted((ROOT / "npkd").rglob("*.py"))
REFERENCE = sorted((ROOT / "reference").rglob("*.py"))
EVIDENCE, SOURCES = DOCS / "evidence.md", DOCS / "sources.md"
FIRST_HOUR = DOCS / "book" / "1-first-hour.md"

TAG = re.compile(r"\(([A-Z][0-9]+)\)")
EXPLAINED = re.compile(r"\\tag\*\{\(([^)]*)\)\}")
"""Written with its brackets, so that a search for the tag as it stands in the code finds the derivation."""
FENCE = re.compile(r"^(?:```|~~~).*?^(?:```|~~~)[^\n]*$", re.MULTILINE | re.DOTALL)

STATEMENTS = {"W1": "the problem that is solved, which its minimiser never evaluates in this form"}
"""Tags of what is stated in a docstring and computed by no line, with the reason."""


def each(paths):
    return pytest.mark.parametrize("path", paths, ids=lambda p: str(p.relative_to(ROOT)))


def read(path):
    return path.read_text(encoding="utf-8")


@cache
def tags_of(source):
    """Tags in the comments of Python source, and tags in its strings (docstrings among them)."""
    comments, strings = set(), set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            comments |= set(TAG.findall(token.string))
        elif token.type == tokenize.STRING:
            strings |= set(TAG.findall(token.string))
    return comments, strings


def explained_in(text):
    """The tags of the displayed formulas of a page, with repetitions; fenced blocks are quotations and do not count."""
    return EXPLAINED.findall(FENCE.sub("", text))


def faults(comments, strings, explained, reference):
    """What is wrong between the tags of the code's comments and strings, of the pages (a list), and of reference/."""
    found = []
    code = comments | strings
    found += [f"({t}) is in npkd but explained nowhere" for t in sorted(code - set(explained))]
    found += [f"({t}) is explained but not in npkd" for t in sorted(set(explained) - code)]
    found += [f"({t}) is explained {n} times" for t, n in sorted(Counter(explained).items()) if n > 1]
    found += [f"({t}) is in reference but explained nowhere" for t in sorted(reference - set(explained))]
    found += [f"({t}) is stated, but no comment says which line computes it"
              for t in sorted(strings - comments - set(STATEMENTS))]
    found += [f"({t}) is excepted as a statement, but a line computes it" for t in sorted(comments & set(STATEMENTS))]
    return found


def all_tags(paths):
    pairs = [tags_of(read(path)) for path in paths]
    return set().union(*(c for c, _ in pairs)), set().union(*(s for _, s in pairs))


# --- tags
# ----------------------------------------------------------------------------------------------------------------


def test_every_tag_of_the_code_is_explained_once():
    comments, strings = all_tags(CODE)
    explained = [tag for page in PAGES for tag in explained_in(read(page))]
    assert len(explained) > 80
    assert faults(comments, strings, explained, set().union(*all_tags(REFERENCE))) == []


def test_the_collection_sees_what_is_wrong():
    """The same functions on made-up text: every kind of fault is found, and nothing else."""
    source = textwrap.dedent('''
        def f(x):
            """The double.

                y = 2x         (Y1)
                z = 3x         (Y2)
            """
            y = 2 * x          # (Y1)
            return f"(Y3) {y}", y  # (Y4), (Y5)  and f(N) is no tag
    ''')
    comments, strings = tags_of(source)
    assert comments == {"Y1", "Y4", "Y5"}
    assert strings >= {"Y1", "Y2"}
    page = ("$$ y = 2x \\tag*{(Y1)} $$\n```text\n\\tag*{(Y9)}\n```\n$$ z \\tag*{(Y2)} $$ and $$ \\tag*{(Y2)} $$")
    assert explained_in(page) == ["Y1", "Y2", "Y2"]
    assert faults({"Y1"}, {"Y1"}, ["Y1"], {"Y1"}) == []
    assert faults({"Y1", "Y4"}, {"Y1"}, ["Y1"], set()) == ["(Y4) is in npkd but explained nowhere"]
    assert faults({"Y1"}, {"Y1"}, ["Y1", "Y5"], set()) == ["(Y5) is explained but not in npkd"]
    assert faults({"Y1"}, {"Y1"}, ["Y1", "Y1"], set()) == ["(Y1) is explained 2 times"]
    assert faults({"Y1"}, {"Y1"}, ["Y1"], {"Y6"}) == ["(Y6) is in reference but explained nowhere"]
    assert faults({"Y1"}, {"Y1", "Y2"}, ["Y1", "Y2"],
                  set()) == ["(Y2) is stated, but no comment says which line computes it"]
    assert faults({"Y1"}, {"Y1", "W1"}, ["Y1", "W1"], set()) == []
    assert faults({"W1"}, set(), ["W1"], set()) == ["(W1) is excepted as a statement, but a line computes it"]


def test_a_search_for_a_tag_as_it_stands_in_the_code_finds_its_derivation():
    """Literally, brackets included, behind one displayed formula of docs/."""
    displays = [display for page in PAGES for display in FENCE.sub("", read(page)).split("$$")[1::2]]
    comments, strings = all_tags(CODE)
    found = Counter({tag: sum(rf"\tag*{{({tag})}}" in display for display in displays) for tag in comments | strings})
    assert [tag for tag, times in found.items() if times != 1] == []


@each(TEXTS)
def test_no_page_speaks_of_a_tag_that_does_not_exist(path):
    known = {tag for page in PAGES for tag in explained_in(read(page))}
    assert set(TAG.findall(read(path))) - known == set()


@each(PAGES)
def test_formulas_and_blocks_are_closed(path):
    text = read(path)
    assert len(re.findall(r"^```", text, re.MULTILINE)) % 2 == 0
    plain = FENCE.sub("", text)
    assert plain.count("$$") % 2 == 0
    for display in plain.split("$$")[1::2]:
        assert display.count("{") - display.count(r"\{") == display.count("}") - display.count(r"\}")
        assert len(re.findall(r"\\left\b", display)) == len(re.findall(r"\\right\b", display))
        assert "\n\n" not in display, "an empty line ends a formula"
        assert len(EXPLAINED.findall(display)) <= 1
    between = re.sub(r"`[^`\n]*`", "", "".join(plain.split("$$")[::2]))
    for paragraph in re.split(r"\n\s*\n", between):
        assert paragraph.count("$") % 2 == 0, paragraph


# --- form of the book
# ----------------------------------------------------------------------------------------------------------------

LONGEST = {6: 310, 8: 220, 9: 220, 10: 220}
"""Lines of a chapter at most, where that is not 300."""


@each(BOOK)
def test_chapters_are_short_and_begin_with_what_they_need_and_explain(path):
    lines = read(path).splitlines()
    number = int(path.name.split("-")[0])
    assert len(lines) <= LONGEST.get(number, 300)
    assert lines[0].startswith(f"# {number}. ")
    assert lines[2].startswith("Needs ")
    assert lines[3].startswith("Uses [" if path == FIRST_HOUR else "Explains [")


def test_every_formula_of_a_chapter_leads_to_a_file_that_its_first_lines_name():
    """From the map of formulas: tag -> file."""
    places = dict(re.findall(r"^\| \(([A-Z]\d+)\) \| [^|]+ \| `([^`:]+)", read(SOURCES), re.MULTILINE))
    for path in BOOK:
        named = set(re.findall(r"\(\.\./\.\./(npkd/[^)]*)\)", read(path).split("\n\n")[1]))
        assert {places[tag] for tag in explained_in(read(path))} <= named, path.name


def test_what_could_not_be_checked_is_marked_in_the_bibliography_alone():
    marked = [path for path in TEXTS if "unverified" in read(path)]
    assert marked == [SOURCES]
    assert "(unverified)" in read(SOURCES).partition("## Where each formula is")[0]
    assert "unverified" not in read(SOURCES).partition("## Where each formula is")[2]


def test_the_numbers_of_overfitting_are_those_that_were_measured_with_the_settings_of_the_code():
    found = json.loads(read(ROOT / "reference" / "measured" / "overfitting.json"))
    assert found["settings"] == overfitting.SETTINGS
    assert overfitting.table(found) in read(DOCS / "book" / "13-promises.md")


# --- the first hour
# ----------------------------------------------------------------------------------------------------------------

QUESTIONS = ("How do I train with my own loss?", "How do I train with my own layer?",
             "How do I train with my own penalty?", "How do I get the weights out?", "How do I check a gradient?")


def examples_of(text):
    """The statements of a page's examples, in order."""
    return [example.source for example in doctest.DocTestParser().get_examples(text)]


def section(text, title):
    return text.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def test_the_first_hour_is_long_enough_and_answers_each_question_with_lines_that_run():
    text = read(FIRST_HOUR)
    assert len(re.findall(r"^ *>>> ", text, re.MULTILINE)) >= 40
    for question in QUESTIONS:
        assert len(examples_of(section(text, question))) >= 4, question


@pytest.mark.parametrize("question", QUESTIONS)
def test_each_question_of_the_first_hour_is_answered_without_reading_the_others(question):
    """Its lines run behind those of the first section alone."""
    text = read(FIRST_HOUR)
    both = section(text, "Load data and train") + section(text, question)
    example, report = doctest.DocTestParser().get_doctest(both, {}, question, None, 0), []
    doctest.DocTestRunner(verbose=False).run(example, out=report.append, clear_globs=False)
    example.globs["temporary"].cleanup()
    assert report == []


def test_the_first_hour_imports_nothing_but_npkd_numpy_and_the_standard_library():
    """That npkd itself then needs numpy, scipy and matplotlib alone is held by a step of .ci/run."""
    nodes = [node for source in examples_of(read(FIRST_HOUR)) for node in ast.walk(ast.parse(source))]
    modules = {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
    modules |= {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    assert {name.split(".")[0] for name in modules} - sys.stdlib_module_names == {"npkd", "numpy"}


def test_the_source_to_read_first_is_as_long_as_the_first_hour_says():
    """Lines that are not blank, of each file to the nearest ten or so, and about 700 in all."""
    text = read(FIRST_HOUR)
    rows = re.findall(r"^\| \d \| `([^`]+)` \| (\d+) \|", text, re.MULTILINE)
    assert [path for path, _ in rows] == re.findall(r"\(\.\./\.\./(npkd/[^)]*)\)", text.split("\n\n")[1])
    counts = [sum(bool(line.strip()) for line in read(ROOT / path).splitlines()) for path, _ in rows]
    assert [n for n, (_, said) in zip(counts, rows, strict=True) if abs(n - int(said)) > 15] == []
    assert "about 700 lines" in text
    assert 650 <= sum(counts) <= 770


WORDS = ("op", "record", "sensitivity", "dependency group", "agreement", "duality gap")


@pytest.mark.parametrize("word", WORDS)
def test_the_first_hour_says_what_a_word_means_where_it_is_used_first(word):
    """In bold, and the examples are no words."""
    text = re.sub(r"^    .*$|`[^`]*`", "", read(FIRST_HOUR).partition("## Load data and train")[2], flags=re.MULTILINE)
    assert re.search(rf"\b{word}s?\b", text).start() == text.index(f"**{word}**") + 2


def test_the_first_hour_leaves_a_weight_that_it_moved_as_it_was():
    """That of the gradient by hand, to rounding."""
    both = [section(read(FIRST_HOUR), title) for title in ("Load data and train", QUESTIONS[-1])]
    before, moves, after = both[1].partition("    >>> for step in")
    names = {}
    for part in (both[0] + before, moves + after):
        example = doctest.DocTestParser().get_doctest(part, names, "the first hour", None, 0)
        doctest.DocTestRunner(verbose=False).run(example, out=[].append, clear_globs=False)
        names = example.globs | {"moved": example.globs["w"].copy()} if part is not moves + after else example.globs
    names["temporary"].cleanup()
    np.testing.assert_allclose(names["w"], names["moved"], rtol=0, atol=1e-15)


def test_sparse_training_takes_ten_lines():
    first = section(read(FIRST_HOUR), "Sparse training in ten lines").partition(">>> ")[2].partition("\n\n")[0]
    assert len(examples_of(f">>> {first}")) == sum(map(len, map(str.splitlines, examples_of(f">>> {first}")))) == 10


# --- the first screen of README
# ----------------------------------------------------------------------------------------------------------------


def test_the_first_screen_shows_the_two_commands_and_then_a_picture_with_a_description():
    before, _, after = read(ROOT / "README.md").partition("```console\n$ ")
    commands, _, after = after.partition("\n```\n")
    assert "```" not in before
    assert len(commands.splitlines()) == 2
    description, path = re.match(r"\s*!\[([^]]*)\]\(([^)]*)\)", after).groups()
    assert len(description) > 100
    assert (ROOT / path).read_bytes().startswith(b"\x89PNG")
    assert f"figures {Path(path).stem} {path}\n" in figures.__doc__


def test_the_gradient_and_the_neuron_of_the_first_screen_are_as_it_says(tmp_path, monkeypatch):
    """The picture is made anew; its bytes may differ between versions of matplotlib."""
    dw, differences = first_screen.gradients(np.array([first_screen.STEP]))
    assert first_screen.relative_errors(dw, differences).max() <= 1e-6
    assert (dw != 0).sum() > dw.size / 2
    norms, without, neuron = shown = first_screen.columns()
    dead = int(first_screen.first_zero(norms)[neuron])
    assert 0 < dead < len(norms) - 1
    assert (norms[dead:, neuron] == 0).all()
    assert norms[:dead, neuron].min() > 0
    assert without[:, neuron].min() > 0
    assert norms[-1].max() > 0.5                                # others stay
    monkeypatch.setattr(first_screen, "columns", lambda: shown)
    monkeypatch.setattr(first_screen, "STEPS", np.array([1e-9, first_screen.STEP, 1e-2]))
    figures.PICTURES["first-screen"]().savefig(tmp_path / "picture.png")
    assert (tmp_path / "picture.png").stat().st_size > 10_000


@each(TEXTS)
def test_lines_have_at_most_120_columns(path):
    """But for rows of tables, which Markdown cannot break."""
    assert [line for line in read(path).splitlines() if len(line) > 120 and not line.startswith("|")] == []


# --- quoted source
# ---------------------------------------------------------------------------------------------------------


@cache
def parsed(text):
    return ast.parse(text)


@cache
def source_of(place):
    """The source of ``path/to/file.py:name`` or ``…:Class.method``; of the whole file without a name."""
    path, _, name = place.partition(":")
    text = read(ROOT / path)
    node = parsed(text)
    for part in name.split(".") if name else []:
        found = [n for n in node.body if getattr(n, "name", None) == part]
        assert found, f"{place}: {part} is not there"
        node = found[0]
    return text if not name else textwrap.dedent("\n".join(text.splitlines()[node.lineno - 1:node.end_lineno]))


def quotations(text):
    """("source" or "part of", place, quoted text) of every quotation on a page."""
    return re.findall(r"^<!-- (source|part of): (\S+) -->\n```python\n(.*?)\n```$", text, re.MULTILINE | re.DOTALL)


def agrees(how, source, quoted):
    """Is the quotation the source, or (part of) whole lines of it in a row, but for a common indent?"""
    if how == "source":
        return quoted == source
    lines, wanted = source.splitlines(), quoted.splitlines()
    runs = (textwrap.dedent("\n".join(lines[i:i + len(wanted)])) for i in range(len(lines)))
    return textwrap.dedent(quoted) in runs


@each(PAGES)
def test_quoted_source_is_the_source(path):
    text = read(path)
    found = quotations(text)
    assert len(found) == text.count("```python"), "a block of Python without a line that says where it is from"
    for how, place, quoted in found:
        assert agrees(how, source_of(place), quoted), f"{path.name}: the quotation of {place} is not what stands there"


def test_a_changed_quotation_is_seen():
    place = "npkd/sparsity/proximal.py:soft_threshold"
    source = source_of(place)
    assert source.startswith("def soft_threshold(")
    assert agrees("source", source, source)
    assert not agrees("source", source, source.replace("(P1)", "(P2)", 1))
    assert not agrees("source", source, source.splitlines()[0])
    last = source.splitlines()[-1]
    assert agrees("part of", source, last.strip())
    assert not agrees("part of", source, last.strip()[:-1])
    assert quotations(f"<!-- part of: {place} -->\n```python\n{last}\n```\n") == [("part of", place, last)]
    assert sum(len(quotations(read(page))) for page in PAGES) >= 3


# --- examples
# ----------------------------------------------------------------------------------------------------------------


@each(TEXTS)
def test_examples_run(path):
    example = doctest.DocTestParser().get_doctest(read(path), {}, path.name, str(path), 0)
    report = []
    result = doctest.DocTestRunner(verbose=False).run(example, out=report.append)
    assert result.failed == 0, "".join(report)


@pytest.mark.parametrize("path", [p for p in CODE if ">>>" in read(p)], ids=lambda p: str(p.relative_to(ROOT)))
def test_examples_in_docstrings_run(path):
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted > 0
    assert result.failed == 0


def test_the_pages_have_examples():
    assert sum(">>>" in read(page) for page in PAGES) >= 5


# --- links and names
# ------------------------------------------------------------------------------------------------------------


def anchors(text):
    """The anchors of a page's headings, as the usual renderers make them."""
    titles = re.findall(r"^#+ (.*)$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def broken_links(path, text):
    """Relative links and pictures that lead nowhere, anchors that do not exist."""
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", text)):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        here = target.exists() and target.is_relative_to(ROOT)
        if not here or (anchor and anchor not in anchors(text if target == path else read(target))):
            broken.append(link)
    return broken


@each(TEXTS)
def test_links_lead_somewhere(path):
    assert broken_links(path, read(path)) == []


def test_broken_links_are_seen():
    text = ("# A b-c: d\n[good](book/2-notation.md) [bad](no.md) [up](../../x) "
            "[here](#a-b-c-d) [not](#a) [far](https://example.org/x)")
    assert broken_links(ROOT / "docs" / "README.md", text) == ["no.md", "../../x", "#a"]


def test_every_page_is_in_the_table_of_contents_in_order():
    text = read(DOCS / "README.md")
    chapters = re.findall(r"^(\d+)\. \[[^]]*\]\(([^)]+)\)", text, re.MULTILINE)
    assert [name for _, name in chapters] == [f"book/{page.name}" for page in BOOK]
    assert [f"{number}-" for number, _ in chapters] == [re.match(r"\d+-", page.name)[0] for page in BOOK]
    others = re.findall(r"^- \[[^]]*\]\(([^)]+)\)", text, re.MULTILINE)
    assert sorted(others) == sorted(str(page.relative_to(DOCS)) for page in PAGES
                                    if page not in BOOK and page.name != "README.md")


@pytest.mark.parametrize("path", [p for p in [*CODE, *REFERENCE] if "docs/" in read(p)],
                         ids=lambda p: str(p.relative_to(ROOT)))
def test_pages_that_the_code_names_exist(path):
    for name in re.findall(r"\bdocs/[\w.\-/]+\.md\b", read(path)):
        assert (ROOT / name).is_file(), f"{path.name} speaks of {name}"


def missing_names(text):
    """Tests, files, modules and commands that a text names and that do not exist."""
    missing = []
    for file, test in re.findall(r"\b((?:tests|reference|npkd)/[\w/]+\.\w+)(?:::(\w+))?", text):
        if not (ROOT / file).is_file():
            missing.append(file)
        elif test and not re.search(rf"^def {test}\(", read(ROOT / file), re.MULTILINE):
            missing.append(f"{file}::{test}")
    for module, words in re.findall(r"python -m ([\w.]+)([^`\n]*)", text):
        spec = importlib.util.find_spec(module)
        if spec is None or spec.origin is None:
            missing.append(module)
        else:
            missing += [f"{module} {word}" for word in words.split()
                        if not word.isdigit() and f'"{word}"' not in read(Path(spec.origin))]
    return missing + [f"npkd {word}" for word in re.findall(r"`npkd (\w+)[^`]*`", text) if word not in COMMANDS]


def test_the_proofs_exist():
    text = read(EVIDENCE)
    assert missing_names(text) == []
    rows = [line.split("|") for line in text.splitlines() if line.startswith("| ") and not line.startswith("| claim")]
    assert len(rows) > 30
    for _, claim, _, proof, _ in rows:
        assert "::" in proof or "`python -m " in proof or "`npkd " in proof, f"no proof of: {claim.strip()}"


def test_what_contributing_names_exists():
    assert missing_names(read(ROOT / "CONTRIBUTING.md")) == []


def test_missing_proofs_are_seen():
    text = ("tests/test_docs.py::test_the_proofs_exist tests/test_docs.py::test_nothing tests/test_none.py `python -m "
            "reference.nothing` "
            "`python -m reference.benchmarks.bars digits` `python -m reference.benchmarks.bars letters` `npkd check` "
            "`npkd fly`")
    assert missing_names(text) == ["tests/test_docs.py::test_nothing", "tests/test_none.py", "reference.nothing",
                                   "reference.benchmarks.bars letters", "npkd fly"]


def test_tolerances_are_those_of_the_code():
    found = re.findall(r"`([0-9.e\-]+)` \(`([\w.]+)\.([A-Z_]+)`\)", read(EVIDENCE))
    assert len(found) >= 4
    for number, module, name in found:
        assert float(number) == getattr(importlib.import_module(module), name), f"{module}.{name}"


# --- the map from formulas to code and papers
# ----------------------------------------------------------------------------------------


def test_the_map_has_every_tag_once_and_points_to_it():
    rows = re.findall(r"^\| \(([A-Z]\d+)\) \| ([^|]+) \| ([^|]*`[^|]+) \| ([^|]+) \|([^|]*)\|$", read(SOURCES),
                      re.MULTILINE)
    assert sorted(tag for tag, *_ in rows) == sorted(tag for page in PAGES for tag in explained_in(read(page)))
    for tag, _, places, _, _ in rows:
        for place in re.findall(r"`([^`]+)`", places):
            assert tag in tags_of(source_of(place))[tag in STATEMENTS], f"no line of {place} has ({tag})"


def test_the_map_names_a_function_or_a_method_and_where_training_computes_the_formula_in_buffers():
    """A class is no place of a line; every tag at a line of nn/fast leads there."""
    rows = dict(re.findall(r"^\| \(([A-Z]\d+)\) \| [^|]+ \| ([^|]+) \|", read(SOURCES), re.MULTILINE))
    places = {place for cell in rows.values() for place in re.findall(r"`([^`]+\.py:[^`]+)`", cell)}
    assert [place for place in sorted(places) if source_of(place).lstrip("@").startswith(("class ", "dataclass"))] == []
    for path in sorted((ROOT / "npkd" / "nn" / "fast").glob("*.py")):
        for tag in tags_of(read(path))[0]:
            assert f"`{path.relative_to(ROOT).as_posix()}:" in rows[tag], f"({tag}) is computed in {path.name}, too"
