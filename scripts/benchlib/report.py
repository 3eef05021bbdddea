"""A measurement as JSON and as a line."""

from dataclasses import asdict, dataclass, field
from statistics import median


@dataclass(frozen=True, slots=True)
class Result:
    """`value` is the median of the runs; `peer` has the peer's medians by configuration."""

    name: str
    value: float
    unit: str
    min: float
    max: float
    runs: int
    peer: dict[str, float] = field(default_factory=dict)

    def json(self) -> dict[str, object]:
        return asdict(self)

    def lines(self) -> list[str]:
        """For a terminal, the peer's below."""
        text = [f"{self.name:22} {self.value:12,.6g} {self.unit:14} {self.min:,.6g} to {self.max:,.6g} in {self.runs}"]
        for name, value in sorted(self.peer.items(), key=lambda item: item[1]):
            text.append(f"    {name:28} {value:12,.6g}   ours is {self.value / value:.2f} of it")
        return text


def result(name: str, unit: str, values: list[float], peer: dict[str, list[float]] | None = None) -> Result:
    """Median, least and most of what the runs gave."""
    peers = {key: median(found) for key, found in (peer or {}).items()}
    return Result(name, median(values), unit, min(values), max(values), len(values), peers)
