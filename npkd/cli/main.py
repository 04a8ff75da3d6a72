"""The command line: npkd compress | train | distil | export | cost | check | reproduce | report | verify.

Whatever is wrong with what a user gave is one sentence on stderr and exit code 2. Heavy modules are imported when a
command needs them, so that ``--help`` answers at once and Ctrl-C is quiet from the beginning.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from npkd.cli import parser
from npkd.cli.output import guarded_output, message
from npkd.core.progress import Progress, shown
from npkd.core.validation import Diverged, InputError


def result_table(result: Mapping[str, Any], folder: Path) -> str:
    """The result as a table that a person reads, and where to look."""
    from npkd.pipeline.result import certified
    from npkd.report import numbers, page

    if "model" in result:
        lines = [f"{numbers.chain(result['model']['widths'])}: {page.headline(result)}"]
    else:
        rows = [["", "teacher", "student", "student / teacher"], *page.compared(result["teacher"], result["student"])]
        if result.get("steps"):                                   # zeros and codes, which the rows above count in full
            for key in ("nonzero_macs", "nonzeros"):
                a, b = (result["costs"][side][key] for side in ("teacher", "student"))
                rows.append([page.COSTS[key], numbers.number(a), numbers.number(b), numbers.percent(b / a)])
            rows.append(page.measured(result, {"teacher": "", "student": ""})[0])
        columns = [max(len(row[k]) for row in rows) for k in range(4)]
        lines = [f"{name:{columns[0]}}" + "".join(f"  {cell:>{w}}" for cell, w in zip(rest, columns[1:], strict=True))
                 for name, *rest in rows]
        lines += ["", f"R² of the student for the teacher's answers: {result['agreement']:.4f}." if "outputs" in result
                  else f"Both say the same on {numbers.percent(result['agreement'], 2)} of the test examples."]
    lines += numbers.taught(result)
    if result.get("layers"):
        lines.append(certified([layer["duality_gap"] for layer in result["layers"]]))
        lines.append(f"Cutting neurons out changed no output by more than {result['removal_difference']:.1e}.")
    lines += ["", f"Read {folder / 'report.html'} ({result['seconds']:.0f} s)"]
    return "\n".join(line.rstrip() for line in lines).replace("–", "-").replace("\N{NO-BREAK SPACE}", " ")


def run_command(options: argparse.Namespace, arguments: Sequence[str], progress: Progress) -> int:
    """``npkd compress``, ``train`` and ``distil``, whose options were read from the arguments."""
    from npkd.cli import config, folders, sweep
    from npkd.cli.run import resumed, run

    typed = [word[2:].partition("=")[0].replace("-", "_") for word in arguments if word.startswith("--")]
    if options.config is not None:
        arguments = [options.command, *config.words(options.config, options.command), *arguments[1:]]
        options = parser.read(arguments)                      # what is typed comes last, and counts

    unnamed = options.out is None and not options.resume
    sweep.require_fit(options, typed)
    if options.resume and options.seeds is None:
        settings = resumed(parser.given(options))
    else:
        options.out = folders.free() if unnamed else options.out or folders.latest("seed-*/*")
        settings = config.settings_of(options, arguments)

    def begins() -> None:
        if unnamed and settings.out != folders.DEFAULT and not options.quiet:
            progress.begin("", 0)                             # leaves the bar of the stage before
            message(f"{folders.DEFAULT} is not free; this run is written to {settings.out}")

    if options.seeds is not None:
        return sweep.sweep(settings, options, progress, begins)
    result = run(settings, progress, begins)
    progress.begin("", 0)
    print(json.dumps({**result, "folder": settings.out}, indent=2) if options.json
          else result_table(result, Path(settings.out)))
    return 0


def dispatch(arguments: Sequence[str]) -> int:
    """Read the arguments, do what they say, and return the exit code."""
    options = parser.read(arguments)
    if options.command == "check":
        from npkd.cli import check

        return check.main(options.json, options.quiet)
    if options.command == "export":
        from npkd.cli import export

        return export.main(options)
    if options.command == "cost":
        from npkd.cli import cost

        return cost.main(options.file, options.json)
    if options.command == "report":
        from npkd.cli.folders import latest
        from npkd.cli.run import rebuild

        page = rebuild(options.folder or latest("summary.json"))
        print(json.dumps({"report": str(page)}) if options.json else f"Read {page}")
        return 0
    if options.command == "verify":
        from npkd.cli import verify

        return verify.main(options)
    if options.command == "reproduce":
        from npkd.experiments.command import reproduce

        return reproduce(options)
    if options.command == "distil" and options.list:
        from npkd.pipeline.library import listed

        if options.json:
            print(json.dumps(listed(), indent=2))
            return 0
        widths = [max(map(len, column)) for column in zip(*listed(), strict=True)]
        print(*("  ".join(map(str.ljust, row, widths)).rstrip() for row in listed()), sep="\n")
        return 0
    with shown(not options.quiet) as progress:
        progress.begin("starting", 1)
        return run_command(options, arguments, progress)


@contextlib.contextmanager
def sigterm_interrupts() -> Iterator[None]:
    """SIGTERM raises KeyboardInterrupt while the block runs, so that a run saves what it has, as after Ctrl-C."""
    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def exit_code(arguments: Sequence[str]) -> int:
    """Run a command; what it raises becomes a line on stderr and an exit code."""
    try:
        with sigterm_interrupts(), warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)   # of floating point: npkd raises what matters of it
            warnings.showwarning = lambda words, *where: message(words)
            return dispatch(arguments)
    except (InputError, Diverged) as error:
        message(error)
    except np.linalg.LinAlgError as error:
        message(f"a layer's statistics cannot be solved ({error}); take more data, or inputs that differ")
    except MemoryError as error:
        message(f"not enough memory{f' ({error})' if str(error) else ''}; take a smaller network, or less data")
    except KeyboardInterrupt as stop:
        both = [str(one) for one in (stop, stop.__context__) if isinstance(one, KeyboardInterrupt)]       # a second one
        message(next(filter(None, both), "interrupted; nothing was saved"))
        return 130
    except SystemExit as stop:                                # --help and --version
        return int(stop.code or 0)
    return 2


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code of a command: 0 done, 1 a check failed or output was lost, 2 wrong input, 130 interrupted."""
    with guarded_output() as outputs:
        code = exit_code(sys.argv[1:] if argv is None else argv)
    return code or int(any(output.lost for output in outputs))
