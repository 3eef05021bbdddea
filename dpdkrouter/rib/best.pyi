from typing_extensions import Buffer

from dpdkrouter.rib.table import Rib
from dpdkrouter.rib.views import FamilyDelta

def best_routes(rib: Rib, family: int, after: int = 0, limit: int = 4096) -> tuple[FamilyDelta, int]: ...
def best_of(rib: Rib, family: int, prefixes: Buffer, lengths: Buffer) -> tuple[memoryview, bytes]: ...
