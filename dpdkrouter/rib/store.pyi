from typing import Self

from typing_extensions import Buffer

from dpdkrouter.rib.attributes import Attributes
from dpdkrouter.rib.enums import Source
from dpdkrouter.rib.imports import ImportFilter
from dpdkrouter.rib.interns import Interns

class Store:
    interns: Interns
    def __new__(
        cls,
        *,
        asn: int = 0,
        router_id: int = 0,
        cluster_id: int | None = None,
        multipath: int = 1,
        relaxed: bool = False,
        any_as: bool = False,
        backups: int = 0,
    ) -> Self: ...
    def add_origin(
        self,
        source: Source,
        *,
        peer_address: str | None = None,
        router_id: int = 0,
        asn: int = 0,
        imports: ImportFilter | None = None,
        limits: tuple[int, int] = (0, 0),
    ) -> int: ...
    def remove_origin(self, origin_id: int) -> int: ...
    def size_of(self, origin_id: int) -> tuple[tuple[int, int], tuple[int, int]]: ...
    def import_filter(self, origin_id: int) -> ImportFilter | None: ...
    def attributes(self, attributes: Attributes) -> int: ...
    def announce(
        self,
        origin_id: int,
        family: int,
        prefixes: Buffer,
        lengths: Buffer,
        attr_id: int,
        path_ids: Buffer | None = None,
    ) -> int: ...
    def withdraw(
        self, origin_id: int, family: int, prefixes: Buffer, lengths: Buffer, path_ids: Buffer | None = None
    ) -> int: ...
    def apply(
        self,
        origin_id: int,
        family: int,
        prefixes: Buffer,
        lengths: Buffer,
        sets: Buffer,
        attributes: list[bytes],
        path_ids: Buffer | None = None,
    ) -> int: ...
    def flush(self, origin_id: int) -> int: ...
    def mark_stale(self, origin_id: int, family: int | None = None) -> int: ...
    def sweep_stale(self, origin_id: int, family: int | None = None) -> int: ...
