"""The API's lines, as bytes in and values out.

    request   {"method": NAME, "params": {...}}          "params" may be left out
    answer    {"item": ...} *   then   {"result": ...}   or   {"error": {"kind": KIND, "message": TEXT}}

One JSON object a line, UTF-8. A connection takes one request after the other; an error may follow items.
Kinds of error:
    protocol   the line was no request; the method or a parameter is unknown
    request    the control process refused: the message is for the operator
    absent     it refused since what the request names is not there
    internal   a defect; the control process has logged it
Both ends use this module.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from dpdkrouter.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

LINE_LIMIT = 64 << 10
"""Longest request, its newline included. Answers have no limit: their sender is trusted."""

PROTOCOL = "protocol"
REQUEST = "request"
ABSENT = "absent"
INTERNAL = "internal"

_KEYS = {"method", "params"}
_F = TypeVar("_F", bound="Callable[..., Any]")


class ProtocolError(RequestError):
    """The line is no request, or asks for what there is not."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request."""

    method: str
    params: dict[str, Any]


def accepts(*names: str) -> Callable[[_F], _F]:
    """Mark a handler with the names of all its parameters: the server refuses others by name."""

    def mark(handler: _F) -> _F:
        handler.__dict__["accepted"] = frozenset(names)
        return handler

    return mark


def encode(value: Mapping[str, Any]) -> bytes:
    """One line. TypeError or ValueError: not JSON (NaN and infinities are not)."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode() + b"\n"


def encode_error(kind: str, message: str) -> bytes:
    """The line that ends a failed request."""
    return encode({"error": {"kind": kind, "message": message}})


def decode_request(line: bytes) -> Request:
    """The request in a line; ProtocolError says what is wrong with it."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f'not JSON: {error}; a request is one line {{"method": ..., "params": ...}}') from None
    if not isinstance(value, dict):
        raise ProtocolError(f"found {_short(value)}: a request is an object with method and params")
    unknown = sorted(value.keys() - _KEYS)
    if unknown:
        raise ProtocolError(f"unknown keys {', '.join(map(repr, unknown))}: a request has method and params")
    method, params = value.get("method"), value.get("params", {})
    if not isinstance(method, str):
        raise ProtocolError(f"method: found {_short(method)}: must be a text")
    if not isinstance(params, dict):
        raise ProtocolError(f"params: found {_short(params)}: must be an object")
    return Request(method, params)


def check_params(request: Request, handler: Callable[..., Any]) -> None:
    """ProtocolError names parameters that a marked handler does not have."""
    accepted: frozenset[str] | None = getattr(handler, "accepted", None)
    unknown = sorted(request.params.keys() - accepted) if accepted is not None else []
    if accepted is not None and unknown:
        raise ProtocolError(
            f"{request.method}: unknown parameters {', '.join(map(repr, unknown))}; "
            f"it has {', '.join(sorted(accepted)) or 'none'}"
        )


def _short(value: object) -> str:
    """A value as an error shows it."""
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."
