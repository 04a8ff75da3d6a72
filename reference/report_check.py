"""A report in the browser: what a person with a mouse, a keyboard, a telephone or a screen reader meets in it.

    pip install playwright axe-playwright-python
    python -m reference.report_check npkd-out/report.html
    python -m reference.report_check --spoil npkd-out/report.html

``problems`` opens one report in a browser of playwright's and says what is wrong with it; the command prints that of
each report and ends with 1 where there is something. The browser is the chromium of the system. ``--spoil`` takes
a report with a slider, spoils it in every way of SPOILT, and ends with 1 where nothing is found.
"""

from __future__ import annotations

import base64
import hashlib
import re
import shutil
import sys
import tempfile
from importlib import resources
from pathlib import Path
from typing import Any

LARGEST = 5_000_000
"""Bytes of a report."""
PHONE, DESKTOP = {"width": 390, "height": 844}, {"width": 1100, "height": 900}
SPOILT = {
    "a picture from elsewhere": ("<h1>", '<img alt="" src="https://example.org/a.png"><h1>'),
    "a script of another": ("</body>", "<script>document.title = 1</script></body>"),
    "a message": ('"use strict";', '"use strict"; console.log(1);'),
    "an error": ("slider.parentElement.hidden = false;", "slider.parent.hidden = false;"),
    "a picture that stays": ('setAttribute("d", path)', 'setAttribute("e", path)'),
    "words that stay": ('byId("said").textContent = stage.words;', ""),
    "a value without words": ('slider.setAttribute("aria-valuetext", stage.words);', ""),
    "labels that stay": ('drawing.setAttribute("aria-label", text.textContent);', ""),
    "no end on paper": ('addEventListener("beforeprint"', 'addEventListener("before"'),
    "points without the keyboard": ('tabindex="0" role="img"', 'tabindex="-1" role="img"'),
    "points that say nothing when focused": ('point.addEventListener("focus", say);', ""),
    "points that say nothing when pointed at": ('point.addEventListener("pointerenter", say);', ""),
    "a slider without a name": ('<label for="stage">Stage</label>', ""),
    "a picture without words": ("<img alt=", "<img data-alt="),
    "pale letters": ("--soft:#4f4f4f", "--soft:#b0b0b0"),
    "pale letters in the dark": ("--soft:#b4b4b4", "--soft:#404040"),
    "wider than a telephone": ("<h1>", '<h1 style="width:30rem">'),
    "seen without scripts": ('class="control" hidden', 'class="control"'),
    "too large": ("</body>", f"<!--{'x' * 5_000_000}--></body>"),
    "no slider": ('id="stage"', 'id="other"'),
}
"""Ways to spoil a report, each what stands in it and what in its place."""
SERIOUS = ("serious", "critical")
PICTURES = "[...document.querySelectorAll('#path path')].map(path => path.getAttribute('d')).join()"
FOCUSED = "document.activeElement.dataset ? document.activeElement.dataset.stage : undefined"

HOVERED = "(document.querySelector('[data-stage]:hover') || document.body).getAttribute('aria-label')"


def problems(report: Path, browser: Any, *, path: bool = True) -> list[str]:
    """What is wrong with a report, in sentences; none: nothing is.

    browser   of playwright's sync API;   path   whether the report has to have a curve and a slider
    """
    found: list[str] = []
    context = browser.new_context(viewport=DESKTOP)
    context.set_offline(True)
    page, address = context.new_page(), report.resolve().as_uri()
    page.on("console", lambda message: found.append(f"console: {message.text}"))
    page.on("pageerror", lambda error: found.append(f"error of a script: {error}"))
    page.on("request", lambda request: found.extend(
        [f"a request: {request.url:.80}"] * (request.url != address and not request.url.startswith("data:"))))
    page.goto(address)
    if (size := report.stat().st_size) > LARGEST:
        found.append(f"{size:,} bytes; at most {LARGEST:,}")
    for name, there in (("a curve", "[data-stage]"), ("a slider", "#stage")):
        if path and not page.locator(there).count():
            found.append(f"there is not {name}")
    if page.locator("[data-stage]").count():
        found += of_points(page)
    if page.locator("#stage").count():
        found += of_slider(page)
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        found += [f"axe, {scheme}: {words}" for words in of_axe(page)]
    page.set_viewport_size(PHONE)
    found += [f"axe, telephone: {words}" for words in of_axe(page)]
    if (wide := page.evaluate("document.documentElement.scrollWidth")) > PHONE["width"]:
        found.append(f"on a telephone it is {wide} pixels wide; at most {PHONE['width']}")
    context.close()
    plain = browser.new_context(java_script_enabled=False).new_page()
    plain.goto(address)
    if plain.locator("#stage").count() and (plain.locator("#stage").is_visible()
                                            or not plain.locator("#path path[d^=M]").count()):
        found.append("without scripts: the slider is seen, or nothing is drawn")
    plain.context.close()
    return found


def of_points(page: Any) -> list[str]:
    """What is wrong with the points of the curve: each says the same pointed at and reached by the tab key."""
    found, stops = [], page.evaluate("[...document.querySelectorAll('[data-stage][tabindex=\"0\"]')]"
                                     ".map(point => point.dataset.stage)")
    reached: list[str] = []
    for _ in range(len(stops) + 100):
        page.keyboard.press("Tab")
        if (stage := page.evaluate(FOCUSED)) is not None and stage not in reached:
            reached.append(stage)
            point = page.locator(f"[data-stage='{stage}']")
            said = page.locator("#pointed").text_content()
            if not said or {said} != {point.get_attribute("aria-label"), point.locator("title").text_content()}:
                found.append(f"point {stage}, focused, says {said!r}")
    if not stops or sorted(reached) != sorted(stops):
        found.append(f"the tab key reaches the points {reached}, it should {stops}")
    for stage in stops[:1] + stops[-1:]:
        page.locator(f"[data-stage='{stage}'] use").hover(force=True)                  # another point may lie over it
        if page.locator("#pointed").text_content() != page.evaluate(HOVERED):
            found.append(f"point {stage}, pointed at, does not say what it is")
    return found


def of_slider(page: Any) -> list[str]:
    """What is wrong with the slider: keys move it, the picture and the words go with it, on paper stands the end."""
    found, slider, seen = [], page.locator("#stage"), []
    last = int(slider.get_attribute("max"))
    slider.focus()
    for key, value in (("End", last), ("ArrowLeft", last - 1), ("Home", 0), ("ArrowRight", 1), ("Home", 0)):
        page.keyboard.press(key)
        said = page.locator("#said").text_content()
        seen.append((page.evaluate(PICTURES), said))
        if int(slider.input_value()) != value or slider.get_attribute("aria-valuetext") != said:
            found.append(f"{key}: the slider is at {slider.input_value()} and says {said!r}")
        labels = page.locator("#path svg").evaluate_all("all => all.map(one => one.getAttribute('aria-label'))")
        if labels != page.locator("#path svg").evaluate_all("all => all.map(one => one.previousSibling.textContent)"):
            found.append(f"{key}: the pictures are not called what stands above them")
    if seen[0][0] == seen[2][0] or len({words for _, words in seen}) < min(4, last + 1):
        found.append("the picture or the words stay as they are when the slider moves")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    if page.evaluate(PICTURES) != seen[0][0]:
        found.append("on paper it is not the end that is drawn")
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    if page.evaluate(PICTURES) != seen[2][0]:
        found.append("after printing the slider is not where it was")
    return found


def of_axe(page: Any) -> list[str]:
    """What axe-core finds serious or critical."""
    if not page.evaluate("typeof axe === 'object'"):
        page.evaluate(resources.files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8"))
    result = page.evaluate("axe.run()")
    return [f"{one['id']}: {one['help']} ({one['nodes'][0]['html']:.120})"
            for one in result["violations"] if one["impact"] in SERIOUS]


def spoilt(text: str, old: str, new: str) -> str:
    """A report with something else in it, whose script may run, unless it is another one."""
    if old not in text:
        raise ValueError(f"there is no {old!r} in the report: give one of a compression with a slider")
    text = text.replace(old, new)
    script = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    return re.sub(r"sha256-[^']*", f"sha256-{digest}", text, count=1)


def main() -> int:
    """Check the reports that are named."""
    from playwright.sync_api import sync_playwright

    wrong = 0
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for name in sys.argv[2:] if "--spoil" in sys.argv else ():
            for words, (old, new) in SPOILT.items():
                with tempfile.TemporaryDirectory() as folder:
                    (path := Path(folder) / "report.html").write_text(spoilt(Path(name).read_text(), old, new))
                    found = problems(path, browser)
                wrong += not found
                print(f"{name}, {words}: {found[0] if found else 'NOT FOUND'}")
        for name in () if "--spoil" in sys.argv else sys.argv[1:]:
            found = problems(Path(name), browser, path="<g data-stage" in Path(name).read_text(encoding="utf-8"))
            wrong += bool(found)
            print(f"{name}: {'; '.join(found) or 'nothing is wrong'}")
        browser.close()
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
