"""What every lab test stands on: network namespaces, real BIRD, waiting for a condition, cleaning up.

Everything has a name with PREFIX and the pid of the test process, so that labs run beside each other and
`sweep` finds what a dead one left.
"""

from lab.harness.bird import Bird, BirdPeer
from lab.harness.namespace import Namespace, sweep, veth_pair
from lab.harness.waiting import ConditionNotMetError, wait_for

__all__ = ["Bird", "BirdPeer", "ConditionNotMetError", "Namespace", "sweep", "veth_pair", "wait_for"]
