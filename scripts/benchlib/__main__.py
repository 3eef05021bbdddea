"""`scripts/bench fib`: see scripts/bench."""

import sys

from benchlib.fib import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[2:]))
