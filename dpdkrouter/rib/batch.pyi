from typing_extensions import Buffer

class Batch:
    def __init__(
        self, what: str, family: int, prefixes: Buffer, lengths: Buffer, path_ids: Buffer | None = None
    ) -> None: ...

def show_prefix(prefix: bytes, length: int) -> str: ...
