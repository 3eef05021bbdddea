from typing_extensions import Buffer

BY_LABEL: int
BY_DEVICE: int

def flow_bucket(packet: Buffer, how: int = 0) -> int: ...
