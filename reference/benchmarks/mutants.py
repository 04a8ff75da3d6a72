"""Random mutants of the numerics: how many do the tests notice?

    python -m reference.benchmarks.mutants --count 100 --seed 0

cosmic-ray (an extra: pip install cosmic-ray) lists what can be changed in npkd/nn, npkd/surgery and npkd/sparsity: an
operator, a comparison, a number, a condition. Some of these places are drawn, one mutant is made of each in a copy of
the tree, and the tests of the mutated file are run: its namesake, those of its room that import it, and the catalogue.
A mutant that no test notices is printed with its line, to be shown equivalent by hand or to get
a test. Annotations are not mutated: nothing runs them.
"""

from __future__ import annotations

import argparse
import ast
import os
import random
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("npkd/nn", "npkd/surgery", "npkd/sparsity")
SKIPPED = ("ExceptionReplacer", "RemoveDecorator", "VariableReplacer", "VariableInserter")
"""Operators of cosmic-ray that make no fault of numerics."""


class Stripper(ast.NodeTransformer):
    """Removes annotations and docstrings: what is left is what runs."""

    def visit_arg(self, node: ast.arg) -> ast.arg:
        node.annotation = None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        node.annotation = ast.Constant(0)
        return self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)


def what_runs(code: str) -> str:
    """The syntax tree without annotations; of an alias of types (``Pair = int | tuple``) its name alone."""
    tree = Stripper().visit(ast.parse(code))
    alias = (ast.BinOp, ast.Subscript)
    tree.body = [n for n in tree.body if not (isinstance(n, ast.Assign) and isinstance(n.value, alias))]
    return ast.dump(tree)


def mutants(count: int, seed: int) -> list[tuple[str, str, str]]:
    """(file, mutated code, changed line) for ``count`` places drawn at random, each file as likely as it is long."""
    from cosmic_ray import plugins
    from cosmic_ray.mutating import mutate_code

    rng = random.Random(seed)
    files = sorted(str(p.relative_to(ROOT)) for room in ROOMS for p in (ROOT / room).rglob("*.py")
                   if p.name != "__init__.py")
    sizes = [len((ROOT / name).read_text(encoding="utf-8").splitlines()) for name in files]
    names = [n for n in plugins.operator_names() if not any(word in n for word in SKIPPED)]
    drawn: list[tuple[str, str, str]] = []
    while len(drawn) < count:
        name = rng.choices(files, sizes)[0]
        code = (ROOT / name).read_text(encoding="utf-8")
        operator = plugins.get_operator(rng.choice(names))()
        mutated = mutate_code(code.encode(), operator, rng.randrange(12))
        if mutated is None:
            continue
        text = mutated.decode() if isinstance(mutated, bytes) else mutated
        try:
            same = what_runs(text) == what_runs(code)
        except SyntaxError:
            continue
        if same or any(name == other and text == theirs for other, theirs, _ in drawn):
            continue
        pairs = zip(code.splitlines(), text.splitlines(), strict=False)
        changed = next(((k, old, new) for k, (old, new) in enumerate(pairs, 1) if old != new), (0, "", ""))
        line = f"{changed[0]}: {changed[1].strip()}  ->  {changed[2].strip()}"
        drawn.append((name, text, line))
    return drawn


def tests_of(name: str) -> list[str]:
    """The test files of a source file: its namesake, those of its room that import it, the catalogue."""
    module = name.removesuffix(".py").replace("/", ".")
    path = Path(name)
    namesake = ROOT / "tests" / path.parent.relative_to("npkd") / f"test_{path.name}"
    room = sorted((ROOT / "tests" / path.parts[1]).rglob("test_*.py"))
    importing = [p for p in room if p != namesake and module in p.read_text(encoding="utf-8")]
    catalogue = [ROOT / "tests" / "cli" / "test_check.py"]
    return [str(p.relative_to(ROOT)) for p in [namesake, *catalogue, *importing] if p.is_file()]


def noticed(tree: Path, name: str, code: str, seconds: float) -> bool:
    """Does a test fail in the copy ``tree`` when a file holds the mutated code? A run without end counts as noticed."""
    original = (tree / name).read_bytes()
    (tree / name).write_text(code, encoding="utf-8")
    words = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--no-header", *tests_of(name)]
    environment = {**os.environ, "PYTHONPATH": str(tree), "OPENBLAS_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        return subprocess.run(words, cwd=tree, env=environment, capture_output=True, timeout=seconds).returncode != 0
    except subprocess.TimeoutExpired:
        return True
    finally:
        (tree / name).write_bytes(original)


def main() -> int:
    """Print each mutant that no test noticed, and how many were noticed; exit code 1 below 95 of 100."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=300.0, help="for the tests of one mutant")
    options = parser.parse_args()
    drawn = mutants(options.count, options.seed)
    trees: Queue[Path] = Queue()
    seen = 0
    with tempfile.TemporaryDirectory() as folder:
        for k in range(options.jobs):
            shutil.copytree(ROOT, Path(folder) / str(k), ignore=shutil.ignore_patterns(".*", "*.egg-info", "npkd-*"))
            trees.put(Path(folder) / str(k))

        def run(mutant: tuple[str, str, str]) -> bool:
            tree = trees.get()
            try:
                return noticed(tree, mutant[0], mutant[1], options.seconds)
            finally:
                trees.put(tree)

        with ThreadPoolExecutor(options.jobs) as pool:
            for (name, _, line), found in zip(drawn, pool.map(run, drawn), strict=True):
                seen += found
                print(f"{'noticed' if found else 'NOT NOTICED'}  {name}:{line}", flush=True)
    print(f"{seen} of {len(drawn)} noticed")
    return 0 if seen >= 0.95 * len(drawn) else 1


if __name__ == "__main__":
    sys.exit(main())
