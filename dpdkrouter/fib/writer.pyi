from os import PathLike
from typing import Final

from dpdkrouter.fib.grace import Grace
from dpdkrouter.fib.reader import FibReader
from fastpath.segment import Mapping

RECOVERY_PATIENCE: Final[float]

class Writer:
    @property
    def mapping(self) -> Mapping: ...
    @property
    def reader(self) -> FibReader: ...
    @property
    def grace(self) -> Grace: ...
    def __init__(
        self, mapping: Mapping, stats_path: str | PathLike[str] | None = None, grace_queue: int = 65536
    ) -> None: ...
