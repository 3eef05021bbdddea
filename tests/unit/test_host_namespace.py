"""Names of namespaces that are refused before anything is touched."""

from __future__ import annotations

import pytest

from dpdkrouter.errors import HostError
from dpdkrouter.host import namespace


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../etc", "a b", "a\n", "x" * 64, "ä"])
def test_bad_name_is_refused_everywhere(name: str) -> None:
    for function in (namespace.path_of, namespace.exists, namespace.ensure, namespace.remove):
        with pytest.raises(HostError, match="name"):
            function(name)


def test_name_that_is_absent() -> None:
    assert not namespace.exists("host-t-absent")
    namespace.remove("host-t-absent")
