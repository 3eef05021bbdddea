"""The exception tree: what is drawn in its docstring is what there is."""

import inspect
import re

from dpdkrouter import errors
from dpdkrouter.errors import ConfigErrors, DpdkrouterError, Problem


def test_the_drawn_tree_is_the_real_one() -> None:
    drawn: dict[str, tuple[str | None, int]] = {}
    open_at: dict[int, str] = {}
    for match in re.finditer(r"^    ([│├└─ ]*)(\w+) +(\d) ", inspect.getdoc(errors) or "", re.MULTILINE):
        depth = len(match[1]) // 4
        open_at[depth] = match[2]
        drawn[match[2]] = (open_at[depth - 1] if depth else None, int(match[3]))
    real = {
        name: (None if cls is DpdkrouterError else cls.__mro__[1].__name__, cls.exit_code)
        for name, cls in vars(errors).items()
        if isinstance(cls, type) and issubclass(cls, DpdkrouterError)
    }
    assert drawn == real
    assert len(real) > 10


def test_problems_are_sorted_by_line_as_a_number() -> None:
    problems = [Problem("f", line, "key", "x", "must be y") for line in (10, None, 9)]
    assert [p.line for p in ConfigErrors(problems).problems] == [None, 9, 10]
    assert str(ConfigErrors(problems)).splitlines()[:2] == [
        "f: key: found x: must be y",
        "f:9: key: found x: must be y",
    ]
