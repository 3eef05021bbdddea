from typing_extensions import Buffer

from dpdkrouter.bgp.decoded import Decoded, Negotiated

class UpdateDecoder:
    def __init__(self, negotiated: Negotiated) -> None: ...
    def decode(self, data: Buffer) -> Decoded: ...
