"""Standard output and standard error that never end a run: not for their encoding, nor closed, nor on a full disk."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import TextIO


class Output(io.TextIOBase):
    """Writes to a stream; characters that its encoding lacks are written as escapes, such as \\u7ed3.

    stream    of the system; None where it was closed before Python began
    lost      whether something could not be written
    """

    def __init__(self, stream: TextIO | None) -> None:
        self.stream, self.lost = stream, False

    @property
    def encoding(self) -> str:                # type: ignore[override]  # a variable to mypy, and a property in truth
        """That of the stream."""
        return getattr(self.stream, "encoding", None) or "utf-8"

    def write(self, text: str) -> int:
        """Write text as far as that is possible."""
        if self.stream is None:
            self.lost = True
        elif not self.lost:
            with self.guarded():
                self.stream.write(text.encode(self.encoding, "backslashreplace").decode(self.encoding))
        return len(text)

    def flush(self) -> None:
        """Write what is buffered."""
        with self.guarded():
            if self.stream is not None and not self.lost:
                self.stream.flush()

    def isatty(self) -> bool:
        """Whether the stream is a terminal."""
        return self.stream is not None and not self.stream.closed and self.stream.isatty()

    def fileno(self) -> int:
        """Number of the stream's file, OSError where it has none."""
        if self.stream is None:
            raise OSError("there is no file")
        return self.stream.fileno()

    @contextlib.contextmanager
    def guarded(self) -> Iterator[None]:
        """After an error nothing more is written, and what is buffered goes nowhere: Python would complain at exit."""
        try:
            yield
        except (OSError, ValueError):                        # ValueError: it is closed
            self.lost = True
            with contextlib.suppress(OSError, ValueError), open(os.devnull, "w") as nowhere:
                os.dup2(nowhere.fileno(), self.fileno())


@contextlib.contextmanager
def guarded_output() -> Iterator[tuple[Output, Output]]:
    """Standard output and standard error behind ``Output`` while the block runs; both are flushed at its end."""
    out, err = Output(sys.stdout), Output(sys.stderr)
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            yield out, err
        finally:
            out.flush()
            err.flush()


def message(words: object) -> None:
    """One line on stderr."""
    print(f"npkd: {' '.join(str(words).split())}", file=sys.stderr)
