from typing import Self

from dpdkrouter.rib.policy import Checks, Policy

class ImportFilter:
    policy: Policy | None
    checks: Checks
    def __new__(cls, policy: Policy | None, checks: Checks) -> Self: ...
    def counts(self) -> dict[str, tuple[int, int]]: ...
    def text(self, verdict: int) -> str: ...
