"""What the site is made of: every page, every room, the map from formulas to tests. It is built and opened in a browser
by a step of .ci/run."""

import re
from pathlib import Path

import pytest

import npkd
from reference import site, site_check, site_map, site_text
from tests.test_docs import DOCS, PAGES, ROOT


def test_the_contents_have_every_page_and_the_api_every_room():
    listed = set(re.findall(r"^[\w/.\-]+$", re.sub(r"```.*|:\w+:.*", "", site.contents()), re.MULTILINE))
    pages = {str(page.relative_to(DOCS).with_suffix("")) for page in PAGES} - {"README"}
    assert {name.removesuffix(".md") for name in listed} >= pages
    assert {*site.ROOMS} == {path.parent.name for path in (ROOT / "npkd").glob("*/__init__.py")}


def test_links_lead_from_page_to_page_and_to_the_source():
    sources: set[str] = set()
    text = ("[a](../README.md#the-book) [`b`](../../npkd/nn/layers.py#L-3) [c](3-layers.md#D1) [d](../../README.md)\n"
            "[e](../../npkd/nn) [f](https://example.org) ![g](../figures/lenet5.png) [h](#here) `[i](no.md)`\n"
            "```text\n[j](no.md)\n```\n    [k](no.md)\n")
    assert site_text.rewritten(text, "docs/book/2-notation.md", sources).splitlines()[:2] == [
        '[a](../index.md#the-book) <a class="reference" href="../source/npkd/nn/layers.py.html#L-3">`b`</a> '
        '<a class="reference" href="3-layers.html#D1">c</a> [d](../readme.md)',
        '<a class="reference" href="../api/nn.html">e</a> [f](https://example.org) ![g](../figures/lenet5.png) '
        "[h](#here) `[i](no.md)`"]
    assert site_text.rewritten(text, "docs/book/2-notation.md", sources).endswith("".join(text.splitlines(True)[2:]))
    assert sources == {"npkd/nn/layers.py"}


def test_the_map_leads_from_every_formula_to_its_line_and_to_a_test():
    rows = {tag: cells for _, tag, *cells in site_map.rows()}
    assert len(rows) > 300
    assert [tag for tag, (_, code, _, tests, _) in rows.items() if not code or not tests] == []
    assert sum(bool(definition) for _, _, definition, _, _ in rows.values()) > 130
    for tag, (_, code, definition, _, _) in rows.items():
        for name, line in re.findall(r"\(\.\./([^#)]+)#L-(\d+)\)", f"{code} {definition}"):
            lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
            assert f"({tag})" in lines[int(line) - 1], (tag, name, line)
    assert "tests/test_formulas.py" in rows["D1"][3]
    assert "tests/catalogue.py" in rows["D1"][3]


def test_docstrings_keep_what_is_aligned():
    found = site_text.as_markup("A *sum* of ``x``:\ntwo lines.\n\n    y = x    (D1)\n\n>>> 1\n1\n\n1. one")
    assert found == ("A \\*sum\\* of `x`: two lines.\n\n```text\ny = x    (D1)\n```\n\n"
                     "```pycon\n>>> 1\n1\n```\n\n1\\. one\n")


def test_the_api_has_signatures_fields_methods_and_constants():
    assert "### dense\n\n```python\ndef dense(x: Array, w: Array, b: Array)" in site_text.api("npkd/nn/layers.py")
    text = site_text.api("npkd/sparsity/group_lasso.py")
    assert "### TOLERANCE\n\n```python\nTOLERANCE = 1e-6\n```" in text
    assert "class Solution:\n    lam: float\n    w: Array\n" in text
    assert "class Problem:\n    def __init__(self, " in text
    assert "#### Problem.solve\n\n```python\ndef solve(" in text


def test_the_normalisers_are_those_of_chapter_20():
    page = site.normalisers_page()
    assert "## mdistiller" in page
    assert "| `pkt` | N | N²: 1/N of ours (30000) |" in page.partition("## mdistiller")[0]


def test_the_citation_is_of_this_version():
    cited = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    entry = (DOCS / "cite.md").read_text(encoding="utf-8")
    assert re.search(r"^version: (\S+)", cited, re.MULTILINE)[1] == npkd.__version__
    assert f"version = {{{npkd.__version__}}}" in entry
    assert f"year    = {{{re.search(r'date-released: (....)', cited)[1]}}}" in entry


def test_dead_links_are_seen(tmp_path):
    page, other = tmp_path / "a.html", tmp_path / "b.html"
    page.touch()
    other.write_text('<p id="there">', encoding="utf-8")
    uri = tmp_path.as_uri()
    links = {page: [f"{uri}/b.html#there", f"{uri}/b.html#gone", f"{uri}/c.html", "https://example.org",
                    Path("/etc/passwd").as_uri()]}
    found = list(site_check.broken_links(links, tmp_path))
    assert len(found) == 3
    assert all("gone" in fault or "c.html" in fault or "passwd" in fault for fault in found)


def test_without_a_browser_one_sentence_says_so(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SystemExit, match=r"no browser on PATH .*; install chromium"):
        site_check.browser_path()
