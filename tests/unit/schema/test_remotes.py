# SPDX-License-Identifier: Apache-2.0
"""ovn_ipsec.schema.remotes: where OVSDB servers are, as people write it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovn_ipsec.errors import InputError
from ovn_ipsec.schema.fields import Place
from ovn_ipsec.schema.open_vswitch import parse_local
from ovn_ipsec.schema.remotes import Remote, parse_remote, parse_remotes

PLACE = Place(table="Open_vSwitch", row=".", key="external_ids:ovn-remote")


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("ssl:192.0.2.1:6642", "ssl:192.0.2.1:6642"),
        ("ssl:central.example:6642", "ssl:central.example:6642"),
        ("tcp:central", "tcp:central:6640"),
        ("tcp:[2001:db8:0::1]:6642", "tcp:[2001:db8::1]:6642"),
        ("ssl:[fe80::1%eth0]", "ssl:[fe80::1%eth0]:6640"),
        ("unix:/run/ovn/ovnsb_db.sock", "unix:/run/ovn/ovnsb_db.sock"),
        ("unix:db.sock", "unix:db.sock"),
        ("unix:/tmp/a,b,c,tcp:192.0.2.1:1", "unix:/tmp/a,b,c,tcp:192.0.2.1:1"),
        ("ssl:a:1, ssl:b:1 ,\tssl:a:1,,", "ssl:a:1,ssl:b:1"),
        ("", ""),
        (" , ", ""),
    ],
)
def test_what_ovn_sbctl_takes_is_taken(text: str, meant: str):
    """Blanks, names, ports left out, paths with commas; what is said twice counts once."""
    found = parse_remotes(PLACE, text)
    assert (meant, ()) == (str(found), found.errors)
    assert found == parse_remotes(PLACE, str(found))


@pytest.mark.parametrize(
    "text",
    [
        "central:6642",
        "ssl",
        "ssl:",
        "ssl::6642",
        "ssl:192.0.2.1:0",
        "ssl:192.0.2.1:65536",
        "ssl:192.0.2.1:+1",
        "ssl:192.0.2.1:",
        "ssl:192.0.2.1.5:6642",
        "ssl:192.0.2:6642",
        "ssl:2001:db8::1:6642",
        "ssl:[2001:db8::1",
        "ssl:[2001:db8::1]6642",
        "ssl:[x]:6642",
        "ssl:[fe80::1%eth0;x]:6642",
        "ssl:-x:6642",
        "ssl:a b:6642",
        "ssl:a..b:6642",
        "ssl:b\u00fccher:6642",
        "ssl:a\x1b[2J:6642",
        f"ssl:{'a' * 64}:6642",
        f"ssl:{'a.' * 127}:6642",
        "pssl:6642",
        "ptcp:6642:192.0.2.1",
        "punix:/tmp/x",
        "SSL:192.0.2.1:6642",
        "unix:",
        "unix:/tmp/",
        "unix:/tmp/a\nb",
        f"unix:/tmp/{'x' * 81}",
        "http://192.0.2.1/",
    ],
)
def test_a_part_that_is_no_remote_is_refused_and_the_others_stay(text: str):
    """Where it stands and why is said; a text of the database never reaches a terminal raw."""
    with pytest.raises(InputError) as caught:
        parse_remote(PLACE, text)
    assert "external_ids:ovn-remote" in str(caught.value)
    assert str(caught.value).isprintable()
    found = parse_remotes(PLACE, f"tcp:192.0.2.9:1,{text},ssl:c.example:2")
    assert "tcp:192.0.2.9:1,ssl:c.example:2" == str(found)
    assert [text] == [error.text for error in found.errors]


def test_a_list_has_an_end():
    """One refusal for all of it."""
    for text in ("ssl:a:1," * 99, "unix:/" + "a/" * 5000):
        found = parse_remotes(PLACE, text)
        assert ((), 1) == (found.usable, len(found.errors))


@given(st.text(alphabet="ssltcpunix:/.,[]%0123456789abc \x1b\n-", max_size=60) | st.text())
def test_whatever_is_written_what_is_used_reads_back_the_same(text: str):
    """Every part is either usable or refused, and what is usable is printable."""
    found = parse_remotes(PLACE, text)
    assert found.usable == parse_remotes(PLACE, str(found)).usable
    assert str(found).isprintable()
    blank = all(not part.strip() for part in text.split(","))
    assert blank == (not found.usable and not found.errors)


def test_of_a_chassis_the_good_remotes_are_used_and_the_others_reported():
    """A typing error in one of three members of a cluster costs that one."""
    ids = {"system-id": "hv1", "ovn-remote": "ssl:a:6642, ssl:b:66422 ,ssl:[::1]:6642"}
    local = parse_local(ids, {}, None)
    assert "ssl:a:6642,ssl:[::1]:6642" == local.remote
    (error,) = local.errors
    assert ("external_ids:ovn-remote", "ssl:b:66422") == (error.key, error.text)


def test_a_remote_says_itself_with_its_port():
    """As the log and the status show it."""
    assert "ssl:[2001:db8::1]:6642" == str(Remote(method="ssl", host="2001:db8::1", port=6642))
