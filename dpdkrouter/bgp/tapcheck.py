"""Whether the installed ExaBGP is the one that the tap (tap.py) knows.

The tap (with graceful.py and gtsm.py) replaces ten methods and relies on how others call them: the files that hold
these are compared by hash, without importing them. Anything else gets the JSON feed, which needs nothing but ExaBGP's
documented interface.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
from pathlib import Path

KNOWN = {
    "exabgp/reactor/protocol.py": "e9ca1d552d24651e1e33ea2f931dc8889cadf62c1debfe9f60c9e499ec16ebaa",
    "exabgp/reactor/peer.py": "d4352d7c7ae1b0b36e344fe53a948792e993a1c766712d052203a207eae438d9",
    "exabgp/reactor/keepalive.py": "293da838ccf6a579164771d362d8a854b3428fd91c9d9f013ea1ed443682c760",
    "exabgp/reactor/network/connection.py": "b22a5014d687fc5f866597048a0254f1141586b89f63a9e4ad9a6478c4379679",
    "exabgp/reactor/api/processes.py": "22e6356630081860200ec7025706efbbdd87b5198f9a52dcb5e630fbdd9ad3f1",
    "exabgp/bgp/timer.py": "3ae52b9ba3019bc8968af556cdd96516255742ae7ba5f0521b1045e1a877b7fa",
    "exabgp/bgp/message/open/capability/negotiated.py": "310d19c0771fdd8d451bb982cb8991c3b9d55ec7978ab1efe8d02a30ec3d3ec5",
    "exabgp/reactor/delay.py": "65622a4d1b2718be5d608cb79c2fe97fbba01be94b1aca3ef4bfe101a327f268",
    "exabgp/reactor/listener.py": "54f0664ead9210df8bb9bb51c93c551a1800832965107ebbd3cc86f4269bb473",
    "exabgp/reactor/network/incoming.py": "c4f6ef107a9b4108b786753cfe32d6e271e38d463d05debe29e9786ef50dbb2a",
    "exabgp/reactor/loop.py": "1ce862d263ca6c20a3e27f5827ea811753c98384717e363c139e6565a6327579",
    "exabgp/rib/outgoing.py": "9bfb0cecd20f0a6d79dcaa482fe34cde5119cd78d891ded334cfb0d2c4ff72c7",
    "exabgp/bgp/message/open/capability/capabilities.py": "a4fadbac10b5b001d86a4ac791f065eb385469d2272eb08585433cba4ec076ca",
    "exabgp/bgp/message/open/capability/graceful.py": "9112ada85a67c2e62abf762ba4755fa58453eb4d3a6cf186e25ce3c98b0aa88a",
}


def difference() -> str | None:
    """What is not as the tap knows it; None when all is."""
    installed = importlib.metadata.distribution("exabgp")
    for name, expected in KNOWN.items():
        try:
            found = hashlib.sha256(Path(str(installed.locate_file(name))).read_bytes()).hexdigest()
        except OSError as error:
            return f"{name} can't be read: {error.strerror}"
        if found != expected:
            return f"{name} is not that of ExaBGP {installed.version} as published"
    return None
