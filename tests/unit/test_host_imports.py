"""What the fast path process loads of the host stack."""

from __future__ import annotations

import subprocess
import sys


def test_opening_a_queue_needs_no_netlink_library() -> None:
    script = "import sys, dpdkrouter.host.tun; sys.exit('pyroute2' in sys.modules)"
    subprocess.run([sys.executable, "-P", "-c", script], check=True, timeout=30)
