"""fastpath.probe, the build's facts and the worker variants agree with this CPU."""

import importlib
import json
import platform
import subprocess
import sys
from pathlib import Path

import dpdkrouter
from fastpath import _build, probe

X86 = platform.machine() == "x86_64"
# /proc/cpuinfo's names of what each level adds and DPDK uses (x86-64 psABI, table 3.1)
LEVEL_FLAGS = {
    "x86-64-v2": {"cx16", "lahf_lm", "popcnt", "sse4_1", "sse4_2", "ssse3"},
    "x86-64-v3": {"avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe"},
    "x86-64-v4": {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"},
    "x86-64-v4-vpopcnt": {"avx512_vpopcntdq"},
}


def supported_by_cpuinfo() -> tuple[str, ...]:
    if not X86:
        return ("native",)
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    flags = set(next(line for line in lines if line.startswith("flags")).split(":")[1].split())
    names = []
    for name, needed in LEVEL_FLAGS.items():
        if not needed <= flags:
            break
        names.append(name)
    return tuple(names)


def test_supported_variants_are_those_of_cpuinfo() -> None:
    assert probe.supported_variants() == supported_by_cpuinfo()


def test_best_variant_is_the_last_supported() -> None:
    assert probe.best_variant() == supported_by_cpuinfo()[-1]


def test_every_variant_of_the_probe_is_compiled_in_order() -> None:
    compiled = list(_build.VARIANTS)
    assert compiled == (list(LEVEL_FLAGS) if X86 else ["native"])


def test_supported_workers_load_and_know_their_name() -> None:
    for name in probe.supported_variants():
        worker = importlib.import_module(_build.VARIANTS[name])
        assert worker.__name__ == _build.VARIANTS[name]
        assert worker.variant() == name


def test_probe_loads_no_dpdk() -> None:
    code = "import fastpath.probe; print('librte' in open('/proc/self/maps').read())"
    run = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"


def test_version_command_prints_the_build() -> None:
    command = [str(Path(sys.executable).with_name("dpdkrouter")), "version", "--json"]
    facts = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert facts["version"] == dpdkrouter.__version__ == "0.1.0"
    assert facts["build"] == _build.BUILD_ID != ""
    assert facts["simd_compiled"] == list(_build.VARIANTS)
    assert facts["simd_best"] == probe.best_variant()
    pkg_config = ["pkg-config", "--modversion", "libdpdk"]
    installed = subprocess.run(pkg_config, capture_output=True, text=True, check=True).stdout.strip()
    assert facts["dpdk"] == installed
