from typing_extensions import Buffer

_Columns = tuple[Buffer, Buffer, Buffer]
_Prefix = tuple[bytes, int]

def first_wrong(family: int, prefixes: Buffer, lengths: Buffer) -> int: ...
def differences(
    family: int, left: _Columns, right: _Columns, examples: int = 3
) -> dict[tuple[int, int], tuple[int, tuple[_Prefix, ...]]]: ...
