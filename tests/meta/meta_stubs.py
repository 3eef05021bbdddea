"""Every compiled module has a .pyi, and mypy's stubtest finds that it says what the module has."""

import importlib.machinery
import os
import shutil
import subprocess
import sys
from pathlib import Path

import dpdkrouter
import fastpath
from fastpath import _build, probe

PACKAGES = {"dpdkrouter": Path(dpdkrouter.__file__).parent, "fastpath": Path(fastpath.__file__).parent}
SUFFIX = importlib.machinery.EXTENSION_SUFFIXES[0]
BENCH = {worker: worker.replace("worker", "bench") for worker in _build.VARIANTS.values()}
VARIANT_STUBS = dict.fromkeys(BENCH, "worker") | dict.fromkeys(BENCH.values(), "bench")


def compiled_modules() -> dict[str, Path]:
    """Module name -> where its stub must be; the variants of the worker share worker.pyi, those of bench bench.pyi."""
    modules = {}
    for folder in PACKAGES.values():
        for path in sorted(folder.rglob("*" + SUFFIX)):
            stem = path.relative_to(folder.parent).as_posix().removesuffix(SUFFIX)
            module = stem.replace("/", ".")
            modules[module] = path.with_name(VARIANT_STUBS.get(module, stem.split("/")[-1]) + ".pyi")
    assert "fastpath.probe" in modules
    return modules


def test_every_compiled_module_has_a_stub() -> None:
    assert [name for name, stub in compiled_modules().items() if not stub.is_file()] == []


def test_stubs_agree_with_the_compiled_modules(tmp_path: Path) -> None:
    for name, folder in PACKAGES.items():
        shutil.copytree(folder, tmp_path / name, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    # A variant that this CPU lacks can't be loaded; its source is the same as the others'.
    loadable = {_build.VARIANTS[name] for name in probe.supported_variants()}
    skipped = set(_build.VARIANTS.values()) - loadable
    skipped |= {BENCH[worker] for worker in skipped}
    modules = [name for name in compiled_modules() if name not in skipped]
    for name, stub in compiled_modules().items():
        if name in VARIANT_STUBS:
            shutil.copy(stub, (tmp_path / name.replace(".", "/")).with_suffix(".pyi"))
    # What Cython adds; and constructors: an extension class shows no signature of them (mypy checks uses).
    allow = tmp_path / "allow"
    # A string constant that a compiled module imports looks like its own.
    allow.write_text(
        r".*\.__(test|pyx_\w+|reduce_cython|setstate_cython|init|new)__" + "\n"
        r"(?!fastpath\.segment\.).*\.(ROUTE|STATS|READERS|WHOLE|WRITE)" + "\n"
    )
    # Every extension class is a disjoint base: no news.
    options = ["--ignore-disjoint-bases", "--ignore-unused-allowlist", "--allowlist", str(allow)]
    run = subprocess.run(
        [sys.executable, "-P", "-m", "mypy.stubtest", *options, *modules],
        env={**os.environ, "MYPYPATH": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
