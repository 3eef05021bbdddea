"""Every configuration key, CLI command, drop reason and metric is named by a test and by the documentation.

The lists come from the program itself, from the installed package: the configuration's models, the typer
tree, the DropReason enum, the constants of dpdkrouter/metrics.py. What is not there yet has an empty list.
`completeness_owed.txt` lists what is known to be missing, one item a line; it may only get shorter: an entry
that is no longer missing is an error too. `scripts/check --write-owed` writes it anew.
"""

import ast
import importlib
import importlib.util
import pkgutil
import re
from pathlib import Path
from types import ModuleType

from checks.tree import ROOT, relative, sources

OWED = ROOT / "scripts" / "checks" / "completeness_owed.txt"


def load(name: str) -> ModuleType | None:
    """The module, or None when it does not exist; what fails inside it is raised."""
    try:
        spec = importlib.util.find_spec(name)
    except ModuleNotFoundError:
        return None
    return importlib.import_module(name) if spec else None


def config_keys() -> set[str]:
    package = load("dpdkrouter.config")
    if package is None:
        return set()
    from pydantic import BaseModel

    modules = [importlib.import_module(f"dpdkrouter.config.{m.name}") for m in pkgutil.iter_modules(package.__path__)]
    models = {
        value
        for module in [package, *modules]
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, BaseModel) and value.__module__.startswith("dpdkrouter.config")
    }
    return {field.alias or name for model in models for name, field in model.model_fields.items()}


def cli_commands() -> set[str]:
    cli = load("dpdkrouter.cli")
    if cli is None:
        return set()
    import typer

    def walk(command: object, path: tuple[str, ...]) -> set[str]:
        children: dict[str, object] = getattr(command, "commands", {})
        if not children:
            return {" ".join(path)}
        return {name for key, child in children.items() for name in walk(child, (*path, key))}

    return walk(typer.main.get_command(cli.app), ())


def drop_reasons() -> set[str]:
    reasons = load("fastpath.reasons")
    return set() if reasons is None else set(reasons.DropReason.__members__)


def metrics() -> set[str]:
    module = load("dpdkrouter.metrics")
    if module is None or module.__file__ is None:
        return set()
    tree = ast.parse(Path(module.__file__).read_text())
    names = {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and re.fullmatch(r"dpdkrouter_[a-z0-9]+(?:_[a-z0-9]+)*", node.value)
    }
    if not names:
        raise SystemExit(f"{module.__file__}: no string like dpdkrouter_..., so the check can't read its metrics")
    return names


def named(kind: str, item: str, text: str) -> bool:
    """Whether the text names the item; a command's words may stand as a list's elements."""
    words = r"""[\s"',]+""".join(map(re.escape, item.split()))
    if kind == "metric":  # a client adds _total to a counter's name, the others to a histogram's
        words += "(?:_total|_sum|_count|_bucket)?"
    return re.search(rf"(?<![\w.-]){words}(?![\w-])", text) is not None


def missing() -> set[str]:
    """The items that no test or no documentation names, as `kind item: where`."""
    # This check's own test names items as examples, which tests none of them.
    paths = [path for path in sources(".py", ".toml", under=("tests",)) if path.name != "build_checks.py"]
    tests = "\n".join(path.read_text() for path in paths)
    documents = [ROOT / "README.md", *sources(".md", ".toml", under=("docs",))]
    documentation = "\n".join(path.read_text() for path in documents)
    items = {
        "config": config_keys(),
        "command": cli_commands(),
        "drop": drop_reasons(),
        "metric": metrics(),
    }
    return {
        f"{kind} {item}: {where}"
        for kind, names in items.items()
        for item in names
        for where, text in (("test", tests), ("documentation", documentation))
        if not named(kind, item, text)
    }


def write_owed() -> None:
    OWED.write_text("".join(line + "\n" for line in sorted(missing())))


def check() -> list[str]:
    found = missing()
    owed = set(OWED.read_text().splitlines()) if OWED.is_file() else set()
    return [f"no {line.rsplit(': ')[-1]} names {line.rsplit(': ')[0]}" for line in sorted(found - owed)] + [
        f"{relative(OWED)}: `{line}` is no longer missing; remove the line" for line in sorted(owed - found)
    ]
