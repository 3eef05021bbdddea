"""The router's namespace, ready for TAPs: made, with its settings, and lo up."""

from __future__ import annotations

from pyroute2 import IPRoute

from dpdkrouter.host import namespace, sysctls


def prepare(name: str) -> namespace.Namespace:
    """Make sure that namespace `name` exists with our settings and lo up; repeating it changes nothing."""
    made = namespace.ensure(name)
    made.run(_inside)
    return made


def _inside() -> None:
    sysctls.apply_base()
    with IPRoute() as kernel:
        kernel.link("set", index=1, state="up")  # lo is the first device of every namespace
