"""What the feed says, as values: the events that Feed.receive returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dpdkrouter.bgp.attributes import BgpAttributes
    from dpdkrouter.bgp.decoded import Decoded


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a peer's OPEN offered (RFC 5492).

    families: those it speaks; without the multiprotocol capability IPv4 alone (RFC 4760). restart_time
    None: no graceful restart; forwarding_kept: families whose forwarding state it kept (RFC 4724 section
    3). add_path_sent: families in which it may send several paths a prefix (RFC 7911).
    """

    families: frozenset[str] = frozenset({"ipv4"})
    hold_time: int = 0
    router_id: str = ""
    route_refresh: bool = False
    enhanced_refresh: bool = False
    restart_time: int | None = None
    restart_families: frozenset[str] = frozenset()
    forwarding_kept: frozenset[str] = frozenset()
    add_path_sent: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class PeerState:
    """A peer as a hello shows it; capabilities None when its OPEN isn't known.

    session: of a peer that is up, with the tap, the body of its SESSION frame.
    """

    peer: str
    up: bool
    capabilities: Capabilities | None
    session: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Hello:
    """A connection to the helper began, or lines were lost on it.

    gap False: all that ExaBGP has said since its start follows. gap True: ask each peer that is up for a
    refresh, and take what isn't in `peers` or isn't up as down; a refresh that was under way is void, its
    end proves nothing. A new `epoch` is a new helper; `exabgp_pid` tells a new ExaBGP. feed: "tap", or "json"
    when the tap does not know this ExaBGP.
    """

    epoch: str
    connection: int
    gap: bool
    dropped: int
    exabgp_pid: int
    peers: tuple[PeerState, ...]
    feed: str = "json"


@dataclass(frozen=True, slots=True)
class PeerUp:
    """A session is Established."""

    peer: str
    local_address: str
    asn: int
    local_asn: int
    capabilities: Capabilities | None


@dataclass(frozen=True, slots=True)
class PeerDown:
    """A session ended, or an attempt to open one failed."""

    peer: str
    reason: str


@dataclass(frozen=True, slots=True)
class Update:
    """Routes of one family with the same attributes; `withdrawn` is to be applied before `announced`.

    Packed arrays, one entry a route: prefixes of 4 (ipv4) or 16 (ipv6) bytes in network order with host
    bits clear, lengths of one byte, path ids of 4 bytes in network order, empty when no route has one (RFC
    7911). attributes None: nothing announced.
    """

    peer: str
    family: str
    attributes: BgpAttributes | None
    announced: bytes = b""
    announced_lengths: bytes = b""
    announced_path_ids: bytes = b""
    withdrawn: bytes = b""
    withdrawn_lengths: bytes = b""
    withdrawn_path_ids: bytes = b""
    messages: int = 1


@dataclass(frozen=True, slots=True)
class Received:
    """UPDATEs of the tap, decoded: all that one frame held. epoch names the session."""

    peer: str
    epoch: int
    decoded: Decoded


@dataclass(frozen=True, slots=True)
class MalformedUpdate:
    """An UPDATE whose routes follow as withdrawn (RFC 7606)."""

    peer: str
    reason: str


@dataclass(frozen=True, slots=True)
class EndOfRib:
    """A peer has sent all routes of a family (RFC 4724 section 2)."""

    peer: str
    family: str


@dataclass(frozen=True, slots=True)
class RefreshMark:
    """A peer begins or ends to send a family anew (RFC 7313): what wasn't sent in between is gone."""

    peer: str
    family: str
    end: bool


@dataclass(frozen=True, slots=True)
class NotificationEvent:
    """A NOTIFICATION; direction is "receive" or "send"."""

    peer: str
    direction: str
    code: int
    subcode: int
    text: str


@dataclass(frozen=True, slots=True)
class FeedError:
    """A line was too long and is lost: as a hello with a gap, but the peers' states are as before."""

    reason: str


Event = (
    Hello
    | PeerUp
    | PeerDown
    | Update
    | Received
    | MalformedUpdate
    | EndOfRib
    | RefreshMark
    | NotificationEvent
    | FeedError
)
