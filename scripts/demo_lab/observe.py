"""What an operator sees: metrics by curl, drops; all of it agrees with what birdc and the hosts say."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from demo_lab.steps import birdc_exported
from demo_lab.topology import SITES

if TYPE_CHECKING:
    from demo_lab.steps import Demo

SHOWN = "fastpath_up|lcore_(received|forwarded|punted|dropped)|dropped_packets|bgp_session|bgp_prefixes|routes|heartbeat"


def parse(text: str) -> dict[str, float]:
    """Samples of a metrics page by name and labels, as they stand there."""
    return {name: float(value) for name, value in re.findall(r"(?m)^(dpdkrouter_\S+) (\S+)$", text)}


def total(samples: dict[str, float], name: str) -> int:
    """The sum of a series over all labels."""
    return int(sum(value for key, value in samples.items() if key.split("{")[0] == name))


def metrics(demo: Demo) -> None:
    """The metrics URL, compared with status and birdc."""
    screen = demo.screen
    screen.heading("Prometheus: the metrics URL")
    url = demo.router.metrics_url
    shown = f"curl -sS {url} | grep -E '^dpdkrouter_({SHOWN})' | grep -v 'reason=.* 0.0$'"
    screen.run("sh", "-c", shown)
    for site in SITES:
        exported = birdc_exported(demo, site)
        samples = parse(screen.run("curl", "-sS", url, show=False))
        seen = tuple(
            int(value)
            for family in ("ipv4", "ipv6")
            for key, value in samples.items()
            if key.startswith("dpdkrouter_bgp_prefixes_received{")
            and f'peer="{site.peer4}"' in key
            and f'family="{family}"' in key
        )
        screen.check(seen == exported, f"{site.name}: metrics and birdc agree on its prefixes", seen)
    samples = parse(screen.run("curl", "-sS", url, show=False))
    scraped = total(samples, "dpdkrouter_lcore_forwarded_packets_total")
    lcores = demo.json("status")["fast_path"]["lcores"]
    forwarded = sum(one["forwarded"] for one in lcores)
    screen.check(scraped == forwarded > 0, "metrics and status agree on the packets forwarded", (scraped, forwarded))


def drops(demo: Demo) -> None:
    """Every received packet is accounted for."""
    screen = demo.screen
    screen.heading("Drops and punts: every packet has one fate")
    screen.run("dpdkrouter", "drops")
    lcores = demo.json("status")["fast_path"]["lcores"]
    count = {key: sum(one[key] for one in lcores) for key in ("rx_packets", "forwarded", "punted", "dropped")}
    screen.check(
        count["rx_packets"] == count["forwarded"] + count["punted"] + count["dropped"],
        "received = forwarded + punted + dropped",
        " = ".join((str(count["rx_packets"]), " + ".join(str(count[k]) for k in ("forwarded", "punted", "dropped")))),
    )
    found = demo.json("drops")
    screen.check(sum(found["drops"].values()) == count["dropped"], "each drop has a reason", count["dropped"])
