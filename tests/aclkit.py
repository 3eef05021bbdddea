"""Orders to a running fast path about its ACLs, as the CLI gives them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dpdkrouter.api.client import FASTPATH, ApiClient

if TYPE_CHECKING:
    from dpdkrouter.config.paths import InstancePaths

PATIENCE_S = 120.0


def _client(paths: InstancePaths) -> ApiClient:
    return ApiClient(paths.fastpath_socket, PATIENCE_S, FASTPATH)


def replace(paths: InstancePaths, name: str, rules: str) -> dict[str, Any]:
    """Give a list these rules, by a file in the run directory."""
    file = paths.run / "test.rules"
    file.write_text(rules)
    answer: dict[str, Any] = _client(paths).call("acl_replace", name=name, file=str(file))
    return answer


def reload(paths: InstancePaths) -> list[dict[str, Any]]:
    """Give all lists the configuration's rules."""
    answer: list[dict[str, Any]] = _client(paths).call("acl_reload")
    return answer


def rules_of(paths: InstancePaths, name: str) -> list[dict[str, Any]]:
    """What `acl show NAME` shows."""
    answer: list[dict[str, Any]] = _client(paths).call("acl_show", name=name)
    return answer
