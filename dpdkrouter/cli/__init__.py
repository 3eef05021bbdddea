"""The `dpdkrouter` command: noun then verb; a command parses, calls and renders, no more.

Exit codes: 0 done; 1 an error; 2 the configuration or the command line is wrong; 3 the control process (or the
router) does not answer; 4 what was asked for is not there; 5 `doctor` has warnings, `route audit` or `route diff`
found differences.
"""

from __future__ import annotations

import os
import sys

from dpdkrouter.cli.app import app
from dpdkrouter.errors import DpdkrouterError

__all__ = ["app", "main"]


def main() -> None:
    """Entry point of the console script: expected errors are a line on standard error and an exit code."""
    try:
        app()
    except DpdkrouterError as error:
        for line in str(error).splitlines():  # a configuration's problems are one a line
            print(f"error: {line}", file=sys.stderr)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # whoever read has gone (head): silence the interpreter's own flush
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
