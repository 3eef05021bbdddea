"""What each peer is told of our prefixes: export policies, and the lines that bring ExaBGP from the last state to the next.

Pure: prefixes in, lines out. `update` takes all prefixes that are to be announced now, with where each comes from; a
prefix that is no longer among them is withdrawn. ExaBGP keeps what it was told over sessions and over the death of the
control process, so a returning one is told first what it no longer wants: `told` says what may be there.

Of an eBGP peer without export policy nothing is announced to it (RFC 8212). A next hop is always our own address on the
session's port. Prepending gives the AS path as a whole, because ExaBGP then adds nothing (RFC 4271 section 5.1.2).
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import TYPE_CHECKING

from dpdkrouter.bgp import commands
from dpdkrouter.rib.policy import Change, Policy, Rule
from dpdkrouter.rib.prefixset import PrefixSet

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from ipaddress import IPv4Network, IPv6Network

    from dpdkrouter.bgp.configuration import BgpPeer

    Network = IPv4Network | IPv6Network

_PLAIN = Rule("", True)


class ExportPolicy:
    """A policy as it is asked about prefixes that we announce."""

    def __init__(self, policy: Policy | None) -> None:
        self.policy = policy
        rules = policy.rules if policy is not None else ()
        self._rules = [(rule, None if rule.entries is None else PrefixSet(rule.entries)) for rule in rules]

    def decide(self, prefix: Network, source: str) -> Rule | None:
        """The rule that lets a prefix out; None: it is not announced."""
        for rule, prefixes in self._rules:
            if rule.sources and source not in rule.sources:
                continue
            if rule.match.path is not None and not rule.match.path.matches(()):
                continue  # what we announce begins here: its path is empty until it leaves
            if prefixes is None or prefixes.matches(prefix):
                return rule if rule.accept else None
        return _PLAIN if self.policy is not None and self.policy.default else None


@dataclass(slots=True)
class _Peer:
    settings: BgpPeer
    policy: ExportPolicy
    next_hops: Mapping[str, str]
    sent: dict[Network, str] = field(default_factory=dict)  # prefix -> attributes, as ExaBGP has them
    told: set[Network] = field(default_factory=set)  # what ExaBGP may have of a former process


class Exports:
    """What is announced to every peer."""

    def __init__(
        self,
        peers: Sequence[BgpPeer],
        policies: Mapping[str, Policy | None],
        next_hops: Mapping[str, Mapping[str, str]],
        told: Mapping[str, Iterable[str]],
    ) -> None:
        """policies, and next_hops by family: by the peer's address. told: by the peer's address, of a former process."""
        self._peers = {
            peer.address: _Peer(
                peer,
                ExportPolicy(policies[peer.address]),
                next_hops[peer.address],
                told={ip_network(prefix) for prefix in told.get(peer.address, ())},
            )
            for peer in peers
        }
        self._wanted: Mapping[Network, str] = {}
        self._stopped = False
        self._online = False

    def update(self, wanted: Mapping[Network, str]) -> list[str]:
        """Announce exactly these from now on; values: the source of each. The lines that say so.

        None while ExaBGP is not there: `hello` makes up for them.
        """
        self._wanted = wanted
        return (
            []
            if self._stopped or not self._online
            else [line for peer in self._peers.values() for line in self._changes(peer)]
        )

    def hello(self, address: str) -> list[str]:
        """All that a peer is to be told, for an ExaBGP of which nothing is known."""
        self._online = True
        peer = self._peers[address]
        peer.told.update(peer.sent)
        peer.sent = {}
        return [] if self._stopped else self._changes(peer)

    def lost(self) -> None:
        """ExaBGP, or the way to it, is gone."""
        self._online = False

    def stop(self) -> list[str]:
        """Announce nothing any more: the router is about to end."""
        self._stopped = True
        return [
            line
            for peer in self._peers.values()
            for line in self._withdraw(peer, {*peer.sent, *peer.told, *self._wanted_of(peer)})
        ]

    def announced(self) -> Iterator[tuple[Network, str, str]]:
        """(prefix, peer, attributes in ExaBGP's words) of all that is announced."""
        for address, peer in self._peers.items():
            for prefix, attributes in peer.sent.items():
                yield prefix, address, attributes

    def peers_of(self, prefix: Network) -> list[str]:
        """The peers that are told this prefix now, or when their sessions are up."""
        return [address for address, peer in self._peers.items() if prefix in self._wanted_of(peer)]

    def policy(self, address: str) -> Policy | None:
        """The export policy of a peer."""
        return self._peers[address].policy.policy

    def state(self) -> dict[str, list[str]]:
        """What ExaBGP may have, for a later process's `told`."""
        return {
            address: sorted(map(str, {*peer.sent, *peer.told, *self._wanted_of(peer)}))
            for address, peer in self._peers.items()
        }

    def withdrawals(self, told: Mapping[str, Iterable[str]]) -> list[str]:
        """The lines that withdraw these prefixes, by peer."""
        return [
            line
            for address, prefixes in told.items()
            if address in self._peers
            for line in _withdrawals(self._peers[address], {ip_network(prefix) for prefix in prefixes})
        ]

    def _wanted_of(self, peer: _Peer) -> dict[Network, str]:
        wanted = {}
        for prefix, source in self._wanted.items():
            rule = peer.policy.decide(prefix, source)
            if rule is not None and f"ipv{prefix.version}" in peer.next_hops:
                wanted[prefix] = _attributes(peer.settings, rule)
        return wanted

    def _changes(self, peer: _Peer) -> list[str]:
        wanted = self._wanted_of(peer)
        gone = {*peer.sent, *peer.told} - wanted.keys()
        lines = self._withdraw(peer, gone)
        peer.told.clear()
        groups: defaultdict[tuple[int, str], list[str]] = defaultdict(list)
        for prefix, attributes in wanted.items():
            if peer.sent.get(prefix) != attributes:
                groups[prefix.version, attributes].append(str(prefix))
        for (version, attributes), prefixes in groups.items():
            hop = peer.next_hops[f"ipv{version}"]
            lines += commands.announce(peer.settings.address, prefixes, hop, attributes)
        peer.sent = wanted
        return lines

    @staticmethod
    def _withdraw(peer: _Peer, prefixes: set[Network]) -> list[str]:
        peer.sent = {prefix: text for prefix, text in peer.sent.items() if prefix not in prefixes}
        return _withdrawals(peer, prefixes)


def _withdrawals(peer: _Peer, prefixes: set[Network]) -> list[str]:
    lines = []
    for family, hop in peer.next_hops.items():
        of_family = sorted(str(prefix) for prefix in prefixes if f"ipv{prefix.version}" == family)
        lines += commands.withdraw(peer.settings.address, of_family, hop)
    return lines


def _attributes(peer: BgpPeer, rule: Rule) -> str:
    """A rule's attributes in ExaBGP's words; "" for none."""
    change: Change = rule.change
    words = []
    if rule.prepend:
        words.append(f"as-path [ {' '.join([str(peer.local_asn)] * (rule.prepend + 1))} ]")
    if change.med is not None:
        words.append(f"med {change.med}")
    if change.local_pref is not None and peer.asn == peer.local_asn:
        words.append(f"local-preference {change.local_pref}")
    if change.add.standard:
        words.append(f"community [ {' '.join(f'{v >> 16}:{v & 0xFFFF}' for v in sorted(change.add.standard))} ]")
    if change.add.large:
        words.append(f"large-community [ {' '.join(':'.join(map(str, v)) for v in sorted(change.add.large))} ]")
    return " ".join(words)
