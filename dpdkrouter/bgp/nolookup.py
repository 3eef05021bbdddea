"""`python -m dpdkrouter.bgp.nolookup MODULE WORDS..`: ExaBGP, or ExaBGP with the tap, without its question for a name.

When it is imported, ExaBGP asks the resolver for this host's full name, for a capability that we never send. In the
router's namespace no name server need be in reach, and ten seconds would pass at each start until the resolver gives up.
"""

from __future__ import annotations

import runpy
import socket
import sys


def own_name(name: str = "") -> str:
    """socket.getfqdn without the resolver."""
    return name or socket.gethostname()


def main() -> None:
    """Run the module as if Python had been started with it."""
    socket.getfqdn = own_name
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
