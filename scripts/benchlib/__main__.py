"""`scripts/bench fib`, `scripts/bench forward` and `scripts/bench --callgrind`: see scripts/bench."""

import importlib
import sys

if __name__ == "__main__":
    name = sys.argv[1].removeprefix("--")
    sys.exit(importlib.import_module(f"benchlib.{name}").main(sys.argv[2:]))
