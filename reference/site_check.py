"""The site in a browser: every page loads without a message, every link leads somewhere, every formula is drawn.

    python -m reference.site_check [SITE]   (default: site)

Each page is opened in headless Chromium from its file. A fault is: a message on the console, a request that fails or
leaves the folder, a link to a page or an anchor that is not there, a formula without size, a page wider than a phone of
390 pixels, and what axe-core calls serious or critical, light and dark. The search has to find something. It
needs the extra test, and chromium on PATH.
"""

import argparse
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urldefrag

PHONE: Any = {"width": 390, "height": 844}
DESKTOP: Any = {"width": 1280, "height": 900}
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]

LOOK = """() => ({
    links: [...new Set([...document.querySelectorAll("a[href]")].map(e => e.href))],
    flat: [...document.querySelectorAll("math")].filter(e => {
        const box = e.getBoundingClientRect();
        return e.checkVisibility() && (box.width < 2 || box.height < 2 || e.querySelector("merror"));
    }).map(e => e.textContent),
    left: /\\$\\$|\\\\(frac|sum|tag)/.test(document.querySelector("article, main, p").textContent),
})"""
"""Of a page: links, formulas that are not drawn, and whether TeX is left as text."""

WIDE = """() => document.documentElement.scrollWidth > innerWidth + 1 ? [...document.querySelectorAll("body *")].filter(
    e => e.getBoundingClientRect().right > innerWidth + 1).slice(0, 3).map(e => e.outerHTML.slice(0, 80)) : null"""

COLOURS = """seen => {
    const found = new Map();
    for (const e of document.querySelectorAll("body *")) {
        if (![...e.childNodes].some(n => n.nodeType == 3 && n.data.trim()) || !e.checkVisibility()) continue;
        let behind = e;
        while (behind.parentElement && getComputedStyle(behind).backgroundColor == "rgba(0, 0, 0, 0)")
            behind = behind.parentElement;
        const {color, fontSize, fontWeight, opacity} = getComputedStyle(e);
        found.set([color, fontSize, fontWeight, opacity, getComputedStyle(behind).backgroundColor].join(), e);
    }
    seen.forEach(key => found.delete(key));
    window.coloured = [...found.values()];
    return [...found.keys()];
}"""
"""Texts in colours and sizes that no earlier page had: their keys, and an element of each in window.coloured."""

AXE = """async ([colours, first]) => {
    const found = await axe.run(colours ? {include: window.coloured} : document, {
        preload: false, iframes: false, resultTypes: ["violations"], runOnly: colours ? ["color-contrast"] :
            {type: "tag", values: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]},
        rules: {"color-contrast": {enabled: colours}, "link-in-text-block": {enabled: first}}});
    return found.violations.filter(v => ["serious", "critical"].includes(v.impact)).map(
        v => `${v.id}, ${v.nodes.length} times: ${v.nodes[0].target} ${v.nodes[0].failureSummary}`);
}"""
"""What axe-core calls serious or critical: in the structure of a page, or in colours that are new. The rule on links in
text takes as long as all others together; as they look alike everywhere, it is for the first pages."""


def browser_path() -> str:
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        raise SystemExit(f"site_check: no browser on PATH ({', '.join(BROWSERS)}); install chromium to check the site")
    return found


class Visitor:
    """Opens pages, one after the other, and keeps what it finds: faults, and links by file."""

    def __init__(self, page: Any, site: Path, axe: str):
        self.page, self.site, self.axe = page, site, axe
        self.faults: list[str] = []
        self.links: dict[Path, list[str]] = {}
        self.here = ""
        self.kinds: set[str] = set()
        self.colours: dict[str, set[str]] = {"light": set(), "dark": set()}
        page.on("console", lambda message: self.fault(f"console: {message.text}"))
        page.on("pageerror", lambda error: self.fault(f"error: {error}"))
        page.on("requestfailed", lambda request: self.fault(f"failed: {request.url}"))
        page.on("request", lambda request: self.request(request.url))

    def fault(self, what: str) -> None:
        self.faults.append(f"{self.here}: {what}")

    def request(self, url: str) -> None:
        if not url.startswith((self.site.as_uri(), "data:", "blob:")):
            self.fault(f"asks for {url}")

    def visit(self, path: Path) -> None:
        """A page on a desktop and on a phone, light and dark."""
        page, self.here = self.page, path.relative_to(self.site).as_posix()
        source = self.here.startswith("source/")
        if not source:
            page.set_viewport_size(DESKTOP)
        page.emulate_media(color_scheme="light")
        page.goto(path.as_uri(), wait_until="load")
        found = page.evaluate(LOOK)
        self.links[path] = found["links"]
        for formula in found["flat"]:
            self.fault(f"a formula is not drawn: {formula}")
        if found["left"] and not source:
            self.fault("a formula is left as text")
        kind = str(path.relative_to(self.site).parts[:2]) if source else self.here  # of source, one of a kind
        if kind not in self.kinds:
            self.accessible(kind)
        page.set_viewport_size(PHONE)
        wide = page.evaluate(WIDE)
        if wide is not None:
            self.fault(f"wider than a phone: {wide}")

    def accessible(self, kind: str) -> None:
        """axe-core on the page as it is, and its contrast where a colour is new, light and dark."""
        page = self.page
        self.kinds.add(kind)
        page.evaluate(self.axe)
        for violation in page.evaluate(AXE, [False, len(self.kinds) <= 10]):
            self.fault(violation)
        for scheme, keys in self.colours.items():
            page.emulate_media(color_scheme=scheme)
            new = page.evaluate(COLOURS, [*keys])
            keys.update(new)
            for violation in page.evaluate(AXE, [True, False]) if new else []:
                self.fault(f"{scheme}: {violation}")

    def search(self, words: str) -> None:
        self.here = f"search for {words}"
        self.page.goto(f"{(self.site / 'search.html').as_uri()}?q={words.replace(' ', '+')}")
        try:
            self.page.wait_for_selector("#search-results li a", timeout=10_000)
        except Exception as error:
            self.fault(f"nothing is found ({type(error).__name__})")


@cache
def anchors(path: Path) -> set[str]:
    return set(re.findall(r'\b(?:id|name)="([^"]+)"', path.read_text(encoding="utf-8")))


def broken_links(links: dict[Path, list[str]], site: Path) -> Iterator[str]:
    """Links of pages to files and anchors that are not there, each once a page."""
    for path, urls in links.items():
        for url in sorted(set(urls)):
            plain, anchor = urldefrag(url)
            target, shown = Path(unquote(plain.removeprefix("file://"))), url.removeprefix(site.as_uri())
            if plain.startswith("file:") and not (target.is_file() and target.is_relative_to(site)):
                yield f"{path.relative_to(site)}: a dead link to {shown}"
            elif plain.startswith("file:") and anchor and unquote(anchor) not in anchors(target):
                yield f"{path.relative_to(site)}: no anchor {shown}"


def visited(site: Path, pages: list[Path], words: str) -> tuple[list[str], dict[Path, list[str]]]:
    """Faults and links of some pages, in a browser with a profile of its own."""
    import axe_playwright_python
    from playwright.sync_api import sync_playwright

    axe = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as profile, sync_playwright() as driver:
        context = driver.chromium.launch_persistent_context(
            profile, executable_path=browser_path(), headless=True, args=FLAGS, viewport=DESKTOP)
        visitor = Visitor(context.pages[0], site, axe)
        for path in pages:
            visitor.visit(path)
        if words:
            visitor.search(words)
        context.close()
    return visitor.faults, visitor.links


SPOILED = """<!doctype html><html lang="en"><head><title>a</title></head><body><script>console.error("said")</script>
<p style="width: 900px; color: #aaa; background: #fff">pale $$x$$</p><a href="gone.html">b</a><a href="#gone">c</a>
<math><mi></mi></math><img src="gone.png"></body></html>"""
FOUND = ("console: said", "left as text", "dead link to /gone.html", "no anchor /index.html#gone", "not drawn",
         "failed: ", "wider than a phone", "image-alt", "light: color-contrast", "dark: color-contrast")
"""A page with a fault of each kind, and what is said of it."""


def unseen() -> list[str]:
    """The kinds of faults that the check would not see: none."""
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder).resolve() / "index.html"
        page.write_text(SPOILED, encoding="utf-8")
        faults, links = visited(page.parent, [page], "")
        text = "\n".join([*faults, *broken_links(links, page.parent)])
    return [f"the check does not see a page that is spoiled: {words}" for words in FOUND if words not in text]


def check(site: Path) -> tuple[list[str], int]:
    """The faults of a site, and how many pages it has. Two browsers share the pages."""
    browser_path()
    pages = sorted(path for path in site.rglob("*.html") if path.relative_to(site).parts[0] != "_static")
    if not pages:
        raise SystemExit(f"site_check: no page in {site}; python -m reference.site makes them")
    with ProcessPoolExecutor(2) as pool:
        parts = pool.map(visited, [site, site], [pages[::2], pages[1::2]], ["duality gap", ""])
        faults, links = zip(*parts, strict=True)
    return [*unseen(), *faults[0], *faults[1], *broken_links(links[0] | links[1], site)], len(pages)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m reference.site_check", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("site", nargs="?", default="site", type=Path)
    started = time.perf_counter()
    faults, pages = check(parser.parse_args(arguments).site.resolve())
    print("\n".join(faults))
    print(f"{pages} pages, {len(faults)} faults, {time.perf_counter() - started:.0f} s")
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
