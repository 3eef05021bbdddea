from dpdkrouter.fib.writer import Writer

class Mender:
    def __init__(self, writer: Writer) -> None: ...
