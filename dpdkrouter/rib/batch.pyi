from typing import Self

from typing_extensions import Buffer

class Batch:
    def __new__(
        cls, what: str, family: int, prefixes: Buffer, lengths: Buffer, path_ids: Buffer | None = None
    ) -> Self: ...

def show_prefix(prefix: bytes, length: int) -> str: ...
