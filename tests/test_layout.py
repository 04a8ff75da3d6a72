"""The house is in order: imports run one way between rooms, files and functions are short, tests mirror npkd.

What does not keep a bound yet stands in layout.json with the number it has, which may only fall. After something has
become shorter: ``python -m tests.test_layout`` writes the lower numbers there.
"""

import ast
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
RATCHET = Path(__file__).with_name("layout.json")

FLOORS = (("core",), ("nn", "gradcheck"), ("surgery", "data"), ("sparsity",), ("distillation",), ("compression",),
          ("interop",), ("pipeline",), ("estimators", "report"), ("experiments",), ("cli",))
"""The rooms from bottom to top (docs of each: its __init__); an import points to a lower floor."""

DOORS = {"__init__.py", "__main__.py", "gradcheck.py", "py.typed"}
"""All that lies at the top of npkd beside the rooms."""

READ = ("nn", "surgery", "sparsity", "distillation", "gradcheck")
"""What is read beside a book; nn without nn/fast."""

FILE_LINES, FUNCTION_LINES, PARAMETERS, COLUMNS = 300, 60, 7, 120
READ_LINES, FAST_LINES, ALL_LINES = 7700, 800, 19_322


def room(path, folder):
    """The room in which a module below ``folder`` lies; a door's own name ("gradcheck", "__init__")."""
    return path.relative_to(folder).parts[0].removesuffix(".py")


def imported(tree):
    """Rooms and doors that a module imports, inside functions too. The version is a constant and counts as none."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for parts in (name.split(".") for name in names):
            if parts[0] == "npkd" and parts[1:] != ["__version__"]:
                yield parts[1] if len(parts) > 1 else "__init__"


def edges(folder):
    """(room, imported room) of all modules below a folder laid out as npkd is."""
    return {(room(path, folder), target) for path in folder.rglob("*.py")
            for target in imported(ast.parse(path.read_text(encoding="utf-8"))) if target != room(path, folder)}


def floor(name):
    """The number of a room's floor from 1 on; the doors stand above all, but everybody may use gradcheck."""
    return next((k for k, rooms in enumerate(FLOORS, 1) if name in rooms), len(FLOORS) + 1)


def upwards(pairs):
    """Imports that do not point to a lower floor. npkd.cli finds the package's folder through its door."""
    return {f"{one} -> {other}" for one, other in pairs
            if floor(other) >= floor(one) and (one, other) not in {("cli", "__init__"), ("__main__", "cli")}}


def parameters(function):
    """How many parameters a function has, self and cls not counted."""
    a = function.args
    first = [arg.arg for arg in (*a.posonlyargs, *a.args)][:1]
    return (len(a.posonlyargs) + len(a.args) + len(a.kwonlyargs) + bool(a.vararg) + bool(a.kwarg)
            - (first in (["self"], ["cls"])))


def offences(root):
    """What goes beyond a bound in a checkout, with its number."""
    found, totals = {}, {"read": 0, "nn/fast": 0, "npkd": 0}
    for path in sorted(p for part in ("npkd", "reference", "tests") for p in (root / part).rglob("*.py")):
        name, text = path.relative_to(root).as_posix(), path.read_text(encoding="utf-8")
        lines = text.splitlines()
        measured = [(f"columns of {name}", max(map(len, lines), default=0), COLUMNS)]
        if not name.startswith("tests/"):
            measured.append((f"lines of {name}", len(lines), FILE_LINES))
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                    measured += [(f"lines of {name} {node.name}", node.end_lineno - node.lineno + 1, FUNCTION_LINES),
                                 (f"parameters of {name} {node.name}", parameters(node), PARAMETERS)]
        found |= {what: number for what, number, bound in measured if number > bound}
        if name.startswith("npkd/"):
            fast = name.startswith("npkd/nn/fast/")
            totals["npkd"] += len(lines)
            totals["nn/fast"] += len(lines) * fast
            totals["read"] += len(lines) * (name.split("/")[1].removesuffix(".py") in READ and not fast)
    bounds = {"read": READ_LINES, "nn/fast": FAST_LINES, "npkd": ALL_LINES}
    found |= {f"lines of {part} in all": number for part, number in totals.items() if number > bounds[part]}
    return found | dict.fromkeys(sorted(upwards(edges(root / "npkd"))), 1)


def compared(found, allowed):
    """What is worse than allowed, and what is allowed but better by now."""
    worse = {what: number for what, number in found.items() if number > allowed.get(what, 0)}
    better = {what: found.get(what, "gone") for what in allowed if found.get(what, 0) < allowed[what]}
    return worse, better


def test_bounds_of_lines_parameters_columns_and_imports():
    worse, better = compared(offences(ROOT), json.loads(RATCHET.read_text()))
    assert not worse, "beyond its bound (300 lines a file, 60 a function, 7 parameters, 120 columns; floors)"
    assert not better, "better than layout.json says: run python -m tests.test_layout, which lowers it"


def test_what_is_excused_from_the_type_checker_says_why():
    """Behind the bracket, in the same line."""
    lines = [line for part in ("npkd", "reference") for path in (ROOT / part).rglob("*.py")
             for line in path.read_text(encoding="utf-8").splitlines() if "# type:" " ignore" in line]
    assert [line for line in lines if not line.partition("# type:" " ignore")[2].partition("]  # ")[2].strip()] == []


def test_the_top_of_npkd_holds_the_doors_and_the_rooms():
    entries = [p for p in (ROOT / "npkd").iterdir() if p.name != "__pycache__"]
    assert {p.name for p in entries if p.is_file()} == DOORS
    rooms = {p.name for p in entries if p.is_dir()}
    assert rooms <= {name for rooms in FLOORS for name in rooms}
    assert len(FLOORS) <= 11
    assert all((ROOT / "npkd" / name / "__init__.py").is_file() for name in rooms)


def test_modules_do_not_import_one_another_in_a_circle():
    """Also inside a room: what is imported when a module is imported comes to an end."""
    modules = {".".join(p.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): p
               for p in (ROOT / "npkd").rglob("*.py")}
    needs = {}
    for name, path in modules.items():
        body = [n for n in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(n, ast.ImportFrom)]
        names = {f"{n.module}.{a.name}" if f"{n.module}.{a.name}" in modules else n.module
                 for n in body for a in n.names}
        needs[name] = names & modules.keys() - {"npkd"}
    while ready := {name for name, rest in needs.items() if not rest & needs.keys()}:
        needs = {name: rest for name, rest in needs.items() if name not in ready}
    assert not needs, "these import one another"


@pytest.mark.parametrize("mirror", ["tests", "reference/definitions"])
def test_tests_and_definitions_mirror_npkd(mirror):
    for path in (ROOT / mirror).rglob("*.py"):
        folder = path.parent.relative_to(ROOT / mirror)
        assert (ROOT / "npkd" / folder / "__init__.py").is_file(), f"{path}: npkd/{folder} is no room"


def test_the_bounds_can_fail(tmp_path):
    """A file with one fault of each kind, counted by hand."""
    for name in ("core", "nn/fast"):
        (tmp_path / "npkd" / name).mkdir(parents=True)
    wide, long = "x = '" + "a" * 200 + "'\n", "def f(a, b, c, d, *e, g, h, **i):\n" + "    a\n" * 61
    (tmp_path / "npkd/core/bad.py").write_text(wide + long + "\n" * 300 + "def g():\n    import npkd.nn\n")
    (tmp_path / "npkd/nn/fast/big.py").write_text("\n" * 801)
    (tmp_path / "npkd/nn/big.py").write_text("\n" * 5301)
    (tmp_path / "npkd/nn/huge.py").write_text("\n" * 14_000)
    found = offences(tmp_path)
    assert found == {
        "columns of npkd/core/bad.py": 206, "lines of npkd/core/bad.py": 365, "lines of npkd/core/bad.py f": 62,
        "parameters of npkd/core/bad.py f": 8, "lines of npkd/nn/fast/big.py": 801, "lines of npkd/nn/big.py": 5301,
        "lines of npkd/nn/huge.py": 14_000, "lines of read in all": 19_301, "lines of nn/fast in all": 801,
        "lines of npkd in all": 20_467, "core -> nn": 1}
    assert compared({"a": 3, "b": 1}, {"a": 2, "b": 2, "c": 1}) == ({"a": 3}, {"b": 1, "c": "gone"})


if __name__ == "__main__":
    was, now = json.loads(RATCHET.read_text()) if RATCHET.exists() else None, offences(ROOT)
    lower = now if was is None else {what: min(number, now[what]) for what, number in was.items() if what in now}
    RATCHET.write_text(json.dumps(lower, indent=1) + "\n")
