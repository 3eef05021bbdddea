"""Loops over arrays are vectorised where they can be: read from the compiler's own report, for every variant of the worker.

The worker's generated C is compiled once more with `-fopt-info-vec-optimized`, which names the line of each loop that
works on several packets at once. In that C a comment before each statement names its source, so a line is a function of
a stage. LOOPS are the functions whose one loop must be among them; the other loops of the stages gather from, or
scatter to, as many places as there are packets, or keep only some packets, and are not expected.
"""

import hashlib
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

from checks.tree import BUILD

LOOPS = ("plain4", "hops4", "plain6", "hops6", "any_bad", "hash_flows4", "plain_ways", "ports_of")
"""The arithmetic of parse, choose and rewrite."""

LACKING = {"v2": ("plain_ways", "ports_of")}
"""What a variant's instructions don't allow: before AVX2 no vector shifts each lane by a count of its own."""

REPORT = re.compile(r"worker\.pyx\.c:(\d+):\d+: optimized:\s+loop vectorized using (\d+) byte vectors")
FUNCTION = re.compile(r"^static [^;{}]*?\b__pyx_f_\d+fastpath_(\w+)\([^;{}]*\) \{$", re.MULTILINE)
MODULE = re.compile(r"^(?:\d+stages_)?\d+(?:worker_v\w+?|[a-z]+[46]?)_")
"""What Cython puts before a name: `6stages_6parse4_`, `9worker_v3_`."""

WORKERS = re.compile(r"/worker_(\w+?)\.[^/]*\.so\.p/meson-generated_worker\.pyx\.c\.o$")


def commands() -> dict[str, list[str]]:
    """How the build compiles each variant of the worker."""
    ninja = Path(sys.executable).with_name("ninja")
    command = [str(ninja), "-C", str(BUILD), "-t", "compdb"]
    listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    entries: list[dict[str, str]] = json.loads(listing[listing.index("[") :])
    return {
        match[1]: shlex.split(entry["command"]) for entry in entries if (match := WORKERS.search("/" + entry["output"]))
    }


def functions(code: str, lines: list[int]) -> list[str]:
    """The function that each line of the generated C belongs to, without its module's name; "" outside of ours."""
    spans = []
    for match in FUNCTION.finditer(code):
        first = code.count("\n", 0, match.start()) + 1
        last = first + code.count("\n", match.start(), code.index("\n}", match.end()))
        spans.append((first, last, MODULE.sub("", match[1])))
    return [next((name for first, last, name in spans if first <= line <= last), "") for line in lines]


def vectorised(command: list[str]) -> dict[str, int]:
    """Function -> bytes of its widest vectors, as the compiler says; kept beside the C for as long as that stays."""
    code = BUILD / command[-1]
    store = code.with_suffix(".vectors.json")
    digest = hashlib.sha256(code.read_bytes() + " ".join(command).encode() + Path(__file__).read_bytes()).hexdigest()
    if store.is_file():
        kept: dict[str, dict[str, int]] = json.loads(store.read_text())
        if digest in kept:
            return kept[digest]
    words = [word for word in command if word not in ("-MD", "-fdiagnostics-color=always")]
    for option in ("-MQ", "-MF"):
        at = words.index(option)
        del words[at : at + 2]
    words[words.index("-o") + 1] = "/dev/null"
    done = subprocess.run(
        [*words, "-w", "-fopt-info-vec-optimized"], cwd=BUILD, capture_output=True, text=True, check=True
    )
    pairs = sorted({(int(match[1]), int(match[2])) for match in REPORT.finditer(done.stderr)})
    names = functions(code.read_text(), [line for line, _ in pairs])
    found: dict[str, int] = {}
    for name, (_, width) in zip(names, pairs, strict=True):
        if not name:
            continue
        found[name] = max(width, found.get(name, 0))
    store.write_text(json.dumps({digest: found}))
    return found


def report() -> str:
    """For each variant, each function that holds a vectorised loop, with the bytes of its vectors."""
    lines = []
    for variant, command in commands().items():
        found = vectorised(command)
        lines.append(f"worker_{variant}: " + ", ".join(f"{name} {width}" for name, width in sorted(found.items())))
    return "\n".join(lines)


def missing(variant: str, command: list[str]) -> list[str]:
    """The functions that should be vectorised in this variant and are not."""
    found = vectorised(command)
    return [name for name in LOOPS if name not in found and name not in LACKING.get(variant, ())]


def check() -> list[str]:
    if not (BUILD / "build.ninja").is_file():
        return ["build/release is missing; run scripts/setup first"]
    return [
        f"worker_{variant}: the compiler does not vectorise the loop of {', '.join(names)}"
        for variant, command in commands().items()
        if (names := missing(variant, command))
    ]
