"""Device strings: what they are called, what they need, and how EAL gets them."""

import pytest

from dpdkrouter.config.devices import is_interface_name, parse_device


@pytest.mark.parametrize(
    ("text", "name", "eal"),
    [
        ("03:00.0", "0000:03:00.0", "0000:03:00.0"),
        ("0000:AF:1f.7,a=b", "0000:af:1f.7", "0000:af:1f.7,a=b"),
        ("10000:03:00.0", None, None),
        ("net_af_packet0,iface=x,qpairs=2", "net_af_packet0", "net_af_packet0,iface=x,qpairs=2"),
        ("virtio_user1,path=/dev/vhost-net", "virtio_user1", "virtio_user1,path=/dev/vhost-net"),
        ("net_0", None, None),
        ("net_", None, None),
    ],
)
def test_names(text: str, name: str | None, eal: str | None) -> None:
    if name is None:
        with pytest.raises(ValueError, match="must be a PCI address"):
            parse_device(text)
        return
    device = parse_device(text)
    assert (device.name, device.eal_argument, str(device)) == (name, eal, text)
    assert device.is_pci == (":" in name)


def test_commas_within_brackets_belong_to_the_value() -> None:
    failsafe = parse_device("net_failsafe0,mac=02:00:00:00:00:01,dev(net_tap0,iface=x),fd(/a)")
    assert failsafe.args == (("mac", "02:00:00:00:00:01"), ("dev", "(net_tap0,iface=x)"), ("fd", "(/a)"))
    assert parse_device("03:00.0,representor=[0,2-3],flag").args == (("representor", "[0,2-3]"), ("flag", ""))


@pytest.mark.parametrize(
    ("text", "needs", "claims"),
    [
        ("net_af_packet0,iface=x", ("x",), ("x",)),
        ("net_af_xdp_wan,iface=x,force_copy=1", ("x",), ("x",)),
        ("net_pcap0,rx_iface=x,tx_iface=y,rx_iface=x", ("x", "y"), ("x", "y")),
        ("net_tap0,iface=x", (), ("x",)),
        ("net_null0,iface=x", (), ()),
        ("03:00.0,iface=x", (), ()),
    ],
)
def test_interfaces(text: str, needs: tuple[str, ...], claims: tuple[str, ...]) -> None:
    device = parse_device(text)
    assert (device.interfaces, device.claimed) == (needs, claims)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a b", "a:b", "x" * 16, "\u00e9" * 8])
def test_no_interface_names(name: str) -> None:
    assert not is_interface_name(name)


def test_interface_names() -> None:
    assert all(map(is_interface_name, ("x", "x" * 15, "veth0.10", "\u00e9" * 7)))
