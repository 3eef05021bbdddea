"""What an operator sees: metrics by curl, drops; all of it agrees with what birdc and the hosts say."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from demo_lab.steps import birdc_exported
from demo_lab.topology import SITES

if TYPE_CHECKING:
    from demo_lab.steps import Demo

# Counted by the host thread for packets that a worker has punted, or that were never received.
NO_FATE = {"park_full", "next_hop_unresolved", "tap_full", "inject_loop", "inject_invalid", "originate_failed"}
SHOWN = (
    "fastpath_up|lcore_(received|forwarded|punted|dropped)|dropped_packets|bgp_session|bgp_prefixes|routes|heartbeat"
)


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
    shown = f'curl -sS {url} | grep -E "^dpdkrouter_({SHOWN})"'
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
    reasons = {name: n for name, n in demo.json("drops")["drops"].items() if n and name not in NO_FATE}
    screen.check(sum(reasons.values()) == count["dropped"], "each drop of a worker has a reason", reasons)
    screen.check(reasons == {"ttl_expired": 2}, "and the only ones are traceroute's", reasons)
