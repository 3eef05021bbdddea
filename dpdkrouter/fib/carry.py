"""Carrying everything from one route segment into a new, empty one with other limits."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dpdkrouter.fib.fib import Fib


def carry_over(old: "Fib", new: "Fib") -> None:
    """Copy interfaces, adjacencies and groups under the same numbers, then all routes.

    Raises ValueError when a group or an adjacency in use has no place; routes that have none are counted.
    """
    for port, interface in old.reader.interfaces().items():
        new.interface_set(port, interface)
    new.restore_groups(old)
    for family in (4, 6):
        after: int | None = None
        while True:
            chunk = old.reader.routes(family, after)
            new.restore_routes(family, chunk)
            after = chunk.after
            if after is None:
                break
