# SPDX-License-Identifier: Apache-2.0
"""ovn_ipsec.schema fields, encap and open_vswitch: rows that others write are hostile input."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovn_ipsec.errors import InputError
from ovn_ipsec.model.chassis import Encap, EncapType
from ovn_ipsec.model.ike import IkeSetting
from ovn_ipsec.model.policy import Mode, Revocation
from ovn_ipsec.schema import encap, open_vswitch
from ovn_ipsec.schema import fields as parse
from ovn_ipsec.schema.encap import EncapIntent, RawChassis, RawEncap
from ovn_ipsec.schema.fields import Place

PLACE = Place(table="T", row="r", key="k")
OPTIONS = st.dictionaries(
    st.sampled_from(["ovn-ipsec", "dst_port", "csum"]), st.text(max_size=12), max_size=3
)


@pytest.mark.parametrize(
    "text",
    ["", "x", "1.2.3", "224.0.0.1", "ff02::1", "0.0.0.0", "::", "255.255.255.255", "fe80::1%eth0"],
)
def test_addresses_that_are_no_host(text: str) -> None:
    """Only a literal unicast address without a scope is one."""
    with pytest.raises(InputError):
        parse.address(PLACE, text)


@given(st.ip_addresses().filter(lambda ip: not ip.is_multicast and not ip.is_unspecified))
def test_address_round_trip(ip: object) -> None:
    """An address is parsed back from its text, the broadcast address excepted."""
    if str(ip) != "255.255.255.255":
        assert ip == parse.address(PLACE, str(ip))


@pytest.mark.parametrize("text", ["", "-1", "11", "1 ", "0x1", "٣", "99999999999"])
def test_numbers_that_are_none(text: str) -> None:
    """Only plain digits in range are a number."""
    with pytest.raises(InputError, match="from 0 to 10"):
        parse.integer(PLACE, text, 0, 10)


@pytest.mark.parametrize(("text", "expected"), [("30", 30), ("30s", 30), ("2m", 120), ("1h", 3600)])
def test_durations(text: str, expected: int) -> None:
    """Seconds, or with a unit."""
    assert expected == parse.duration_s(PLACE, text, 0, 10**6)


@pytest.mark.parametrize("text", ["", "1w", "-1s", "2d"])
def test_durations_that_are_none(text: str) -> None:
    """An unknown unit or a time out of range is refused."""
    with pytest.raises(InputError):
        parse.duration_s(PLACE, text, 0, 86_400)


def test_booleans() -> None:
    """As people write them, and nothing else."""
    assert [parse.boolean(PLACE, text) for text in ("Yes", "0")] == [True, False]
    with pytest.raises(InputError):
        parse.boolean(PLACE, "maybe")


@pytest.mark.parametrize("text", ["", "a b", "a/b", "x" * 254, "a\n"])
def test_names_that_cannot_be_an_identity(text: str) -> None:
    """A chassis name is letters, digits, dot, underscore and hyphen."""
    with pytest.raises(InputError):
        parse.chassis_name(PLACE, text)


def test_encap() -> None:
    """A whole row."""
    raw = RawEncap(
        type="geneve",
        ip="10.0.0.1",
        options={"csum": "true", "dst_port": "6082", "ovn-ipsec": "require"},
    )
    expected = Encap(type=EncapType.GENEVE, ip=ip_address("10.0.0.1"), port=6082, csum=True)
    assert (EncapIntent(encap=expected, mode=Mode.REQUIRE), ()) == encap.parse_encap("r", raw)


def test_encap_without_options() -> None:
    """A missing key is the cluster's default, and the port is the type's own."""
    intent, errors = encap.parse_encap("r", RawEncap(type="vxlan", ip="fd00::1", options={}))
    assert intent is not None
    assert (intent.encap.port, intent.encap.csum, intent.mode, errors) == (4789, None, None, ())


def test_encap_of_another_type() -> None:
    """What IPsec does not cover is nobody's error."""
    assert encap.parse_encap("r", RawEncap(type="stt", ip="junk", options={})) == (None, ())


@pytest.mark.parametrize(
    ("ip", "options", "key"),
    [("junk", {}, "ip"), ("10.0.0.1", {"dst_port": "0"}, "options:dst_port")],
)
def test_encap_that_cannot_be_used(ip: str, options: dict[str, str], key: str) -> None:
    """A bad address or port costs the encap."""
    intent, (error,) = encap.parse_encap("r", RawEncap(type="geneve", ip=ip, options=options))
    assert (None, "Encap", "r", key) == (intent, error.table, error.row, error.key)


def test_encap_with_junk_mode() -> None:
    """A bad mode costs only the key: the default holds."""
    raw = RawEncap(type="geneve", ip="10.0.0.1", options={"ovn-ipsec": "none"})
    intent, (error,) = encap.parse_encap("r", raw)
    assert intent is not None
    assert (intent.mode, error.key) == (None, "options:ovn-ipsec")


@pytest.mark.parametrize("text", ["", "C1", "x" * 17, "a b"])
def test_encap_with_junk_class(text: str) -> None:
    """A bad class costs only the key: the mode holds."""
    options = {"ovn-ipsec": "prefer", "ovn-ipsec-class": text}
    raw = RawEncap(type="geneve", ip="10.0.0.1", options=options)
    intent, (error,) = encap.parse_encap("r", raw)
    assert intent is not None
    assert (intent.mode, intent.class_name) == (Mode.PREFER, None)
    assert (error.key, error.text) == ("options:ovn-ipsec-class", text)


def test_encap_with_a_class() -> None:
    """The class is what rules say of it, beside the mode."""
    raw = RawEncap(type="geneve", ip="10.0.0.1", options={"ovn-ipsec-class": "c1a2"})
    intent, errors = encap.parse_encap("r", raw)
    assert intent is not None
    assert (intent.class_name, errors) == ("c1a2", ())


def test_chassis_sorts_its_encaps_and_drops_bad_ones() -> None:
    """The order of rows does not show, and one bad encap costs only itself."""
    ips = ["fd00::1", "10.0.0.2", "junk", "10.0.0.1"]
    raws = tuple(RawEncap(type="geneve", ip=ip, options={}) for ip in ips)
    raw = RawChassis(
        name="hv1",
        other_config={"is-remote": "true"},
        encaps=(*raws, RawEncap(type="stt", ip="10.0.0.1", options={})),
    )
    parsed = encap.parse_chassis(raw)
    assert parsed.chassis is not None
    expected = ["10.0.0.1", "10.0.0.2", "fd00::1"]
    assert expected == [str(intent.encap.ip) for intent in parsed.chassis.encaps]
    assert (parsed.chassis.is_remote, parsed.chassis.is_interconn) == (True, False)
    assert [error.row for error in parsed.errors] == ["hv1/junk"]


@pytest.mark.parametrize(("is_remote", "expected"), [("true", None), ("false", "c1a2")])
def test_a_class_of_another_zone_is_none_of_ours(is_remote: str, expected: str | None) -> None:
    """It may have the name of one of ours; what is junk there is nobody's error here."""
    options = {"ovn-ipsec": "require", "ovn-ipsec-class": "c1a2"}
    rows = [("10.0.0.1", options), ("10.0.0.2", {"ovn-ipsec-class": "c1a2"})]
    encaps = tuple(RawEncap(type="geneve", ip=ip, options=found) for ip, found in rows)
    other = {"is-remote": is_remote}
    parsed = encap.parse_chassis(RawChassis(name="hv1", other_config=other, encaps=encaps))
    assert parsed.chassis is not None
    assert [(Mode.REQUIRE, expected), (None, expected)] == [
        (intent.mode, intent.class_name) for intent in parsed.chassis.encaps
    ]
    junk = RawEncap(type="geneve", ip="10.0.0.1", options={"ovn-ipsec-class": "A B"})
    parsed = encap.parse_chassis(RawChassis(name="hv1", other_config=other, encaps=(junk,)))
    assert (is_remote == "true") == (parsed.errors == ())


def test_chassis_with_a_bad_name() -> None:
    """A chassis whose name cannot be an identity is no peer."""
    parsed = encap.parse_chassis(RawChassis(name="a b", other_config={}, encaps=()))
    assert (parsed.chassis, [error.key for error in parsed.errors]) == (None, ["name"])


@given(st.text(max_size=20), st.text(max_size=20), OPTIONS)
def test_any_encap_row_is_parsed_or_refused(kind: str, ip: str, options: dict[str, str]) -> None:
    """Nothing that a row can hold raises."""
    encap.parse_encap("r", RawEncap(type=kind, ip=ip, options=options))


def test_local_defaults() -> None:
    """An empty row gives the defaults and no name."""
    local = open_vswitch.parse_local({}, {}, None)
    assert (
        local.name,
        local.remote,
        local.bridge,
        local.probe_interval_ms,
        local.errors,
    ) == (None, "", "br-int", 5000, ())
    assert (
        local.tunnels,
        local.vici,
        local.files,
        local.tos,
        local.df_default,
        local.ike,
    ) == (open_vswitch.Tunnels.AUTO, None, None, "none", "", IkeSetting.STRONGSWAN)


@pytest.mark.parametrize("text", ["Libreswan", "", "libreswan ", "Delegate", "pluto"])
def test_an_ike_daemon_is_named_exactly(text: str) -> None:
    """What is not one of them is refused, and nothing changes by it."""
    local = open_vswitch.parse_local({}, {"ovn-ipsec-ike": text}, "hv1")
    assert local.ike is IkeSetting.STRONGSWAN
    assert [error.key for error in local.errors] == ["other_config:ovn-ipsec-ike"]
    for word in IkeSetting:
        local = open_vswitch.parse_local({}, {"ovn-ipsec-ike": word}, "hv1")
        assert (local.ike, local.errors) == (word, ())


def test_local_chassis_key_wins() -> None:
    """A key with the chassis name behind it wins over the plain one."""
    external_ids = {"system-id": "hv1", "ovn-remote": "tcp:a", "ovn-remote-hv1": "tcp:b"}
    files = {"certificate": "/c", "private_key": "/k", "ovn-ipsec-tunnels": "own"}
    files["ovn-ipsec-psk-plain"] = "h1, h2"
    local = open_vswitch.parse_local(external_ids, files, None)
    assert (local.name, local.remote, local.tunnels) == (
        "hv1",
        "tcp:b:6640",
        open_vswitch.Tunnels.OWN,
    )
    assert local.psk_plain == {"h1", "h2"}
    assert local.files is not None
    assert (
        local.files.certificate,
        local.files.private_key,
        local.files.ca_cert,
    ) == ("/c", "/k", "")
    assert open_vswitch.parse_local(external_ids, {}, "hv2").remote == "tcp:a:6640"


def test_local_junk() -> None:
    """Each junk setting is named and stays at its default."""
    external_ids = {"system-id": "a b", "ovn-remote-probe-interval": "soon"}
    other_config = {"ovn-ipsec-tunnels": "all", "ovn-ipsec-psk-plain": "h1 h*"}
    local = open_vswitch.parse_local(external_ids, other_config, None)
    assert local.psk_plain == frozenset()
    assert (
        local.name,
        local.probe_interval_ms,
        local.tunnels,
    ) == (None, 5000, open_vswitch.Tunnels.AUTO)
    assert len(local.errors) == 4


def test_local_revocation() -> None:
    """Nothing is asked for; junk is named, and counts as the strictest."""
    here = open_vswitch.parse_local({}, {}, None)
    assert (here.revocation, here.ocsp_uri) == (Revocation.RELAXED, "")
    keys = {"ovn-ipsec-revocation": "ifuri", "ovn-ipsec-ocsp-uri": "http://10.0.0.1:8080/ocsp"}
    here = open_vswitch.parse_local({}, keys, None)
    assert (here.revocation, here.ocsp_uri) == (Revocation.IFURI, "http://10.0.0.1:8080/ocsp")
    keys = {"ovn-ipsec-revocation": "strickt", "ovn-ipsec-ocsp-uri": "file:///etc/shadow"}
    here = open_vswitch.parse_local({}, keys, None)
    assert (here.revocation, here.ocsp_uri) == (Revocation.STRICT, "")
    assert [error.key for error in here.errors] == [f"other_config:{key}" for key in keys]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ocsp.example",
        "https://ocsp.example/",
        "ftp://ocsp.example/",
        "http://",
        "http:///x",
        "http://a b/",
        "http://me@host/",
        "http://host/\n",
        'http://host/"',
        "http://host:123456/",
        "http://" + "a" * 250,
    ],
)
def test_uris_that_are_not_asked(text: str) -> None:
    """Only http to a plain host."""
    with pytest.raises(InputError, match="expected http://HOST"):
        parse.http_uri(PLACE, text)


@pytest.mark.parametrize("text", ["http://a", "http://[fd00::1]:80/x?y=z", "http://10.0.0.1/ocsp/"])
def test_uris(text: str) -> None:
    """As they are."""
    assert text == parse.http_uri(PLACE, text)


def test_local_encaps_are_known_before_any_row() -> None:
    """Where tunnels will end, for the guard of a chassis that joins; junk is named."""
    keys = {
        "system-id": "hv1",
        "ovn-encap-ip": "10.0.0.1, fd00::1,junk",
        "ovn-encap-type": "geneve",
    }
    here = open_vswitch.parse_local(keys, {}, None)
    assert {str(ip) for ip in here.encap_ips} == {"10.0.0.1", "fd00::1"}
    assert here.encap_ports == {6081}
    assert [error.key for error in here.errors] == ["external_ids:ovn-encap-ip"]
    keys = {"system-id": "hv1", "ovn-encap-type-hv1": "vxlan,geneve"}
    here = open_vswitch.parse_local(keys, {}, None)
    assert (here.encap_ips, here.encap_ports) == (frozenset(), {4789, 6081})


@pytest.mark.parametrize(
    ("text", "azs"),
    [
        ("", set()),
        ("enable-chassis-as-gw", set()),
        ("enable-chassis-as-gw,availability-zones=az1:az2", {"az1", "az2"}),
        ("availability-zones=:", set()),
    ],
)
def test_availability_zones_are_in_the_cms_options(text: str, azs: set[str]):
    """As ovn-controller(8) writes them."""
    assert azs == encap.availability_zones({"ovn-cms-options": text})


def test_a_chassis_without_cms_options_is_in_no_availability_zone():
    """Most have none."""
    assert frozenset() == encap.availability_zones({})
