"""`scripts/bench WHAT ...`: the first word says what is measured."""

import sys

from benchlib import fib

WHAT = {"fib": fib.main}


def main() -> int:
    if len(sys.argv) < 2 or sys.argv[1] not in WHAT:
        print(f"usage: scripts/bench {'|'.join(WHAT)} ...   (--help after it lists its options)", file=sys.stderr)
        return 2
    return WHAT[sys.argv[1]](sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())
