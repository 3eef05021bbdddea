"""What the demo prints: headings with times, each command before its output, a tick or a cross for each check.

Colours only on a terminal (and not with NO_COLOR); plain text when piped. Every result on the screen is the output
of a command that stands above it.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time

RULE = 100
COMMAND_TIMEOUT_S = 60


class CheckFailedError(Exception):
    """A check does not hold; its text says which and what was seen instead."""


class Screen:
    """Standard output, line by line. `aliases` are long words of commands and the short ones that are shown."""

    def __init__(self) -> None:
        self.terminal = sys.stdout.isatty()
        self._colour = self.terminal and "NO_COLOR" not in os.environ
        self._start = time.monotonic()
        self._steps = 0
        self.checks = 0
        self.all_hold = False

    def paint(self, code: str, text: str) -> str:
        """The text in an ANSI style, where styles are wanted."""
        return f"\x1b[{code}m{text}\x1b[0m" if self._colour else text

    def line(self, text: str = "") -> None:
        """One line, at once."""
        print(text, flush=True)

    def heading(self, title: str) -> None:
        """A step begins."""
        self._steps += 1
        left = f"── {self._steps}. {title} "
        right = f" {self.elapsed_s:5.1f} s ──"
        self.line()
        self.line(self.paint("1;36", left + "─" * max(2, RULE - len(left) - len(right)) + right))

    @property
    def elapsed_s(self) -> float:
        """Seconds since the demo started."""
        return time.monotonic() - self._start

    def say(self, text: str) -> None:
        """A sentence about what comes."""
        self.line(self.paint("2", f"  {text}"))

    def command(self, *words: str) -> None:
        """Show a command line as one would type it."""
        self.line(f"  {self.paint('1;33', '$')} {self.paint('1', shlex.join(words))}")

    def output(self, text: str, limit: int = 40) -> None:
        """A command's output, indented; a long one is cut in its middle."""
        lines = text.rstrip().splitlines()
        if len(lines) > limit:
            lines = [*lines[: limit - 6], f"... {len(lines) - limit + 1} lines ...", *lines[-5:]]
        for line in lines:
            self.line(f"    {line}".rstrip())

    def run(self, *words: str, ok: tuple[int, ...] = (0,), show: bool = True) -> str:
        """Show a command, run it, show its output (`show` False: it is for the check below) and return that."""
        self.command(*words)
        done = subprocess.run(words, capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S, check=False)
        if show or done.returncode not in ok:
            self.output(done.stdout + done.stderr)
        if done.returncode not in ok:
            raise CheckFailedError(f"{shlex.join(words)}: exit code {done.returncode}")
        return done.stdout

    def check(self, holds: bool, what: str, seen: object = "") -> None:
        """Tick a check, or cross it and raise CheckFailedError."""
        self.checks += 1
        text = f"{what}: {seen}" if seen != "" else what
        if not holds:
            self.line(f"  {self.paint('1;31', '✗')} {text}")
            raise CheckFailedError(text)
        self.line(f"  {self.paint('1;32', '✓')} {text}")
