"""[[acl]] and [[policer]]: what ports filter of what they receive. See schema.py, which has them."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from dpdkrouter.config.base import Table, array
from dpdkrouter.config.rules import PATH, Prefix, whole
from dpdkrouter.filters import values
from dpdkrouter.filters.rules import FilterRule
from dpdkrouter.filters.values import Flags, Range

MAX_ACLS = 64  # fastpath/filters.pxd: MAX_LISTS
MAX_POLICERS = 64


class AclRule(Table):
    """[[acl.rule]]"""

    action: Annotated[str, values.ACTION] = Field(
        description="of packets that match: permit, deny (drop), police (permit within `policer`'s rate), "
        "or count, and go on with the next rule"
    )
    source: Annotated[Prefix | None, values.PREFIX] = Field(None, description="the source is within it")
    destination: Annotated[Prefix | None, values.PREFIX] = Field(None, description="the destination is within it")
    protocol: Annotated[int | None, values.PROTOCOL] = Field(
        None, description="the upper protocol, of IPv6 that behind extension headers"
    )
    source_port: Annotated[Range | None, values.PORTS] = Field(None, description="the source port is one of these")
    destination_port: Annotated[Range | None, values.PORTS] = Field(
        None, description="the destination port is one of these"
    )
    tcp_flags: Annotated[Flags | None, values.TCP] = Field(None, description="TCP's flags are set and not set so")
    icmp_type: Annotated[Range | None, values.TYPES] = Field(None, description="the ICMP type is one of these")
    fragments: Annotated[bool | None, values.FRAGMENTS] = Field(
        None, description="true: only fragments other than the first, which have no ports; false: all but those"
    )
    policer: Annotated[str | None, values.POLICER_REFERENCE] = Field(None, description="of action police: its policer")

    @property
    def rule(self) -> FilterRule:
        """The rule as a plain value."""
        return FilterRule(**{name: getattr(self, name) for name in type(self).model_fields})


class Acl(Table):
    """[[acl]]"""

    name: Annotated[str, values.NAME] = Field(description="name of the list of rules")
    default: Annotated[str, values.DEFAULT] = Field("deny", description="what becomes of packets that no rule matches")
    rules: Annotated[tuple[AclRule, ...], array("tables: write [[acl.rule]]")] = Field(
        (), alias="rule", description="the rules; the first that matches decides"
    )
    file: Annotated[Path | None, PATH] = Field(
        None, description="a file of further rules, one a line: `ACTION NAME=VALUE ...`"
    )


class Policer(Table):
    """[[policer]]: RFC 2697, colour-blind; who names the same one shares it."""

    name: Annotated[str, values.NAME] = Field(description="name of the policer")
    cir: Annotated[int, whole(1, 125_000_000_000)] = Field(
        description="committed information rate in bytes per second, of each worker"
    )
    cbs: Annotated[int, whole(0, 1 << 40)] = Field(description="committed burst size in bytes")
    ebs: Annotated[int, whole(0, 1 << 40)] = Field(
        0, description="excess burst size in bytes; what is beyond it is dropped"
    )
