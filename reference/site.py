"""The site: the pages of docs/, the API, a map of the formulas and a gallery of reports, built by Sphinx.

    python -m reference.site [OUT]          (default: site)

Needs the extra test. Pages link to one another and to the files of the checkout, as on a code host; in a copy of docs/
these links are turned into links to pages of the site. Reports that OUT/gallery has are kept.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import npkd
from reference import site_map
from reference.site_map import ROOT, read
from reference.site_text import PAGES, api, rewritten, site_name

ROOMS = ("core", "nn", "surgery", "data", "sparsity", "distillation", "compression", "interop", "pipeline",
         "estimators", "report", "experiments", "cli")
"""The rooms of npkd from bottom to top, a page of the API each."""

RUNS = {
    "compress": ("", "compress --seed 0", "A tenth of a perceptron",
                 "What README's first command makes: a trained teacher loses nine tenths of its work."),
    "chain": ("compress", "compress --teacher compress/teacher.npz --steps neurons,int8,code --target bytes=10% "
              "--epochs 5", "A chain: neurons, bytes, a coded file", "A tenth of the bytes, in three steps."),
    "distil": ("compress", "distil --teacher compress/teacher.npz --data digits --hidden 30,30 --loss rkd "
               "--loss-weight 25 --epochs 20", "A fresh student, by relations",
               "Distances and angles between examples; how large each term and its gradient are, by epoch."),
    "sparse": ("", "train --penalty inputs=0.001,neurons=0.001 --epochs 20", "Neurons that die while it learns",
               "Sparse training with given λ: no teacher, proximal steps."),
}
"""Reports of the gallery: the run that must be done before, the command, title, what it shows."""


def api_page(room: str) -> str:
    """The page of a room: its modules with their public names, in the order of the files."""
    files = [file for file in site_map.files("npkd") if file.startswith((f"npkd/{room}/", f"npkd/{room}.py"))]
    return f"# npkd.{room}\n\n" + "".join(map(api, files))


def api_index() -> str:
    doors = npkd.DOORS | {"gradcheck": "gradcheck"}
    rows = [f"| [`npkd.{name}`]({f'#npkd.{module}.{name}' if name != module else 'gradcheck.md'}) | `npkd.{module}` |"
            for name, module in sorted(doors.items())]
    return "\n".join(["# API", "", "What `import npkd` gives at once, and where it is defined:", "",
                      "| name | module |", "| --- | --- |", *rows, "",
                      "All rooms, from bottom to top (imports run one way):", "",
                      "```{toctree}", ":titlesonly:", "", *ROOMS, "gradcheck", "```", ""])


def commands_page() -> str:
    """What each command answers to --help."""
    from npkd.cli.parser import COMMANDS

    out = ["# Commands", "", "What `npkd COMMAND --help` prints.", ""]
    for command in COMMANDS:
        shown = subprocess.run([sys.executable, "-m", "npkd", command, "--help"], capture_output=True, text=True,
                               check=True, env=os.environ | {"COLUMNS": "100", "NO_COLOR": "1"}, cwd=ROOT).stdout
        out += [f"## npkd {command}", "", "```text", shown.rstrip(), "```", ""]
    return "\n".join(out)


def normalisers_page() -> str:
    """The table of chapter 20 the other way round: by library, what it divides each loss by."""
    _, *lines = re.findall(r"^\|.*\|$", read("docs/book/20-library.md").partition("## Here and in the libraries")[2],
                           re.MULTILINE)
    names = ["word", "here", "RepDistiller", "mdistiller", "torchdistill"]
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[1:]]
    out = ["# Which normaliser does library X use?", "",
           "One name and one weight are two objectives where the loss is divided by different things. From the table "
           "of [chapter 20](book/20-library.md#here-and-in-the-libraries), which also says how these were read; the "
           "plain soft targets of seven libraries are in [chapter 5](book/5-losses.md#one-name-many-scales).", ""]
    for k, library in enumerate(names[2:], 2):
        out += [f"## {library}", "", f"| loss | npkd divides by | {library} |", "| --- | --- | --- |",
                *(f"| `{row[0]}` | {row[1]} | {row[k]} |" for row in table if row[k] != "–"), ""]
    return "\n".join(out)


def gallery_page() -> str:
    out = ["# Gallery of reports", "", "Each run writes a page like these, one file that needs no network. They were "
           "made when this site was built, by the command above each, on the digits that come with npkd.", ""]
    for name, (_, command, title, shows) in RUNS.items():
        out += [f"## {title}", "", shows, "", f"```console\nnpkd {command} --out {name}\n```", "",
                f'<p><a class="reference" href="gallery/{name}/report.html">The whole page</a></p>', "",
                f'<iframe class="report" loading="lazy" title="Report: {title}" src="gallery/{name}/report.html">'
                "</iframe>", ""]
    return "\n".join(out)


def contents() -> str:
    """The hidden table of contents behind the start page."""
    listed = re.findall(r"^(?:\d+\.|-) \[[^]]*\]\(([^)]+)\)", read("docs/README.md"), re.MULTILINE)
    parts = {"Start": ["README <readme>", "faq", "gallery", "cite"],
             "Reference": ["map", "normalisers", "commands", "api/index"],
             "The book": [page for page in listed if page.startswith("book/")],
             "Results": [page for page in listed if page.startswith("results/")],
             "Evidence": [page for page in listed if not page.startswith(("book/", "results/", "faq", "cite"))]
             + ["contributing", "changelog"]}
    return "".join(f"\n```{{toctree}}\n:hidden:\n:titlesonly:\n:caption: {caption}\n\n" + "\n".join(pages) + "\n```\n"
                   for caption, pages in parts.items())


def stage(folder: Path) -> None:
    """Writes what Sphinx reads: pages with their links as on the site, generated pages, settings, and sources.json."""
    sources = {*site_map.files("npkd"), *site_map.files("reference/definitions")}
    texts = {name: read(name) for name in PAGES} | {
        path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in (ROOT / "docs").rglob("*.md")}
    texts["docs/README.md"] += contents()
    texts["docs/evidence.md"] = re.sub(                    # long names of tests break behind their underscores
        r"(?<!`)\btests/[\w/.]+::\w+", lambda name: name[0].replace("_", "_<wbr>"), texts["docs/evidence.md"])
    generated = {"map": site_map.page(), "normalisers": normalisers_page(), "commands": commands_page(),
                 "gallery": gallery_page(), "api/index": api_index()}
    texts |= {f"docs/{name}.md": text for name, text in generated.items()}
    texts |= {f"docs/api/{room}.md": api_page(room) for room in (*ROOMS, "gradcheck")}
    staged = {site_name(name) or name: rewritten(text, name, sources) for name, text in texts.items()}
    for name, text in staged.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    for name in ("figures", "static", "conf.py"):
        copy = shutil.copytree if (ROOT / "docs" / name).is_dir() else shutil.copy
        copy(ROOT / "docs" / name, folder / name)
    (folder / "sources.json").write_text(json.dumps(sorted(sources)), encoding="utf-8")


def make_reports(out: Path) -> None:
    """The runs of the gallery that are not there yet, two at a time."""
    def run(name: str) -> None:
        before, command, *_ = RUNS[name]
        if before:
            done[before].result()
        if not (out / name / "report.html").is_file():
            subprocess.run([sys.executable, "-m", "npkd", *command.split(), "--quiet", "--overwrite", "--out", name],
                           check=True, cwd=out, stdout=subprocess.DEVNULL,
                           env=os.environ | {"PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"})

    out.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(2) as pool:
        done = {}
        for name in RUNS:
            done[name] = pool.submit(run, name)
        for future in done.values():
            future.result()


def main(arguments: list[str] | None = None) -> int:
    from sphinx.cmd.build import main as sphinx_build

    parser = argparse.ArgumentParser(prog="python -m reference.site", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", nargs="?", default="site", type=Path)
    out = parser.parse_args(arguments).out.resolve()
    with tempfile.TemporaryDirectory() as temporary, ThreadPoolExecutor(1) as pool:
        reports = pool.submit(make_reports, out / "gallery")
        stage(Path(temporary) / "pages")
        failed = sphinx_build(["-W", "--keep-going", "-q", "-b", "html", "-d", f"{temporary}/doctrees",
                               f"{temporary}/pages", str(out)])
        reports.result()
    print(f"{out}/index.html" if not failed else "the site has faults")
    return failed


if __name__ == "__main__":
    sys.exit(main())
