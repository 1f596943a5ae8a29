# SPDX-License-Identifier: Apache-2.0
"""A chassis with bad credentials says so and stands alone; the others are encrypted all the same.

Seen from outside a bad credential is one of two things: a successor that is refused, while the old
one stays in use; or all that there is, and then the chassis' pairs cannot be encrypted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import NamedTuple

import helpers
import pytest
from helpers import say

from ovn_ipsec.lab.cluster.chassis import CONTROLLER, Chassis
from ovn_ipsec.lab.cluster.cluster import Cluster
from ovn_ipsec.lab.cluster.pki import Authority, Credentials
from ovn_ipsec.lab.cluster.settings import CREDENTIALS
from ovn_ipsec.lab.waiting import wait_until


class Spoil(NamedTuple):
    """One way to spoil the files of a chassis, and the words by which it is to be named."""

    do: Callable[[Cluster, Chassis], None]
    words: str


def _expired(cluster: Cluster, chassis: Chassis) -> None:
    chassis.place(cluster.authority.issue(chassis.name, days=0))


def _wrong_name(cluster: Cluster, chassis: Chassis) -> None:
    chassis.place(cluster.authority.issue("somebody-else"))


def _wrong_key(cluster: Cluster, chassis: Chassis) -> None:
    other = cluster.authority.issue("somebody-else")
    chassis.place(cluster.authority.issue(chassis.name))
    chassis.write(f"{CREDENTIALS}/key.pem", other.private_key, 0o600)


def _junk(_cluster: Cluster, chassis: Chassis) -> None:
    chassis.write(f"{CREDENTIALS}/cert.pem", "no certificate")


def _no_key(_cluster: Cluster, chassis: Chassis) -> None:
    chassis.write(f"{CREDENTIALS}/key.pem", "no key", 0o600)


def _wrong_chain(cluster: Cluster, chassis: Chassis) -> None:
    other = Authority(cluster.folder / "pki-other", "another CA")
    other.open()
    chassis.place(replace(other.issue(chassis.name), ca=cluster.authority.certificate))


def _wrong_usage(cluster: Cluster, chassis: Chassis) -> None:
    usage = ("keyUsage=critical,keyEncipherment",)
    chassis.place(cluster.authority.issue(chassis.name, extensions=usage))


def _missing(_cluster: Cluster, chassis: Chassis) -> None:
    chassis.path(f"{CREDENTIALS}/key.pem").unlink()


SPOILS = {
    "expired": Spoil(_expired, "the certificate expired at"),
    "wrong-name": Spoil(_wrong_name, "(somebody-else) lack the chassis name h3"),
    "wrong-key": Spoil(_wrong_key, "is not the key of the certificate"),
    "missing": Spoil(_missing, "cannot read the private key: No such file"),
}
MORE_SPOILS = {
    "junk": Spoil(_junk, "holds no certificate in PEM that can be parsed"),
    "no-key": Spoil(_no_key, "holds no private key in PEM that can be parsed"),
    "wrong-chain": Spoil(_wrong_chain, "is not signed by a CA"),
    "wrong-usage": Spoil(_wrong_usage, "keyUsage lacks digitalSignature"),
}


def _files(chassis: Chassis) -> Credentials:
    texts = [chassis.read(f"{CREDENTIALS}/{name}.pem") for name in ("cert", "key", "ca")]
    return Credentials(certificate=texts[0], private_key=texts[1], ca=texts[2])


@pytest.fixture
def bad(product: Cluster) -> Iterator[Chassis]:
    """h3, whose credentials are put right after the test."""
    chassis = product.chassis["h3"]
    good = _files(chassis)
    yield chassis
    chassis.place(good)
    wait_until(lambda: not helpers.problem(product, "h3"), 120, "no problem on h3", every=0.1)


def _spoil(cluster: Cluster, chassis: Chassis, spoil: Spoil) -> None:
    """Spoil the files and wait until the chassis says so: in its digest and in its log."""
    log = chassis.logs / f"{CONTROLLER}.log"
    known = len(log.read_text())
    spoil.do(cluster, chassis)
    wait_until(
        lambda: spoil.words in helpers.problem(cluster, chassis.name),
        120,
        f"{spoil.words!r} in the digest of {chassis.name}",
        every=0.1,
    )
    lines = [one for one in log.read_text()[known:].splitlines() if "credential_refused" in one]
    assert any(spoil.words in line for line in lines), lines


def _is_named(cluster: Cluster, spoil: Spoil) -> bool:
    """Tell whether the operator is told: which chassis, and what is wrong there."""
    found = helpers.summary(cluster)
    return "h3: " in found and spoil.words in found


def test_bad_successor_is_refused_and_the_old_credential_goes_on(
    enforced: Cluster, bad: Chassis
) -> None:
    """The operator reads what is wrong and where; not one packet is lost or clear; SPIs stay."""
    cluster, good = enforced, _files(bad)
    before = helpers.spis(cluster)
    with helpers.traffic(cluster, "w1", "w3") as ping:
        for kind, spoil in (SPOILS | MORE_SPOILS).items():
            bad.place(good)
            ping.mark()
            _spoil(cluster, bad, spoil)
            helpers.wait_state(cluster, "enforced (degraded)", 60)
            wait_until(lambda one=spoil: _is_named(cluster, one), 60, f"{kind} in the summary")
            ping.run(1)
            assert (kind, ping.lost) == (kind, 0)
            ping.assert_encrypted()
            assert helpers.spis(cluster) == before


def test_chassis_that_never_had_a_good_credential_stands_alone(
    switched_off: Cluster, bad: Chassis
) -> None:
    """Each fault is named, from ``prepare`` on; h1 and h2 are encrypted; put right, h3 is too."""
    cluster, h1 = switched_off, switched_off.chassis["h1"]
    first, *others = SPOILS.values()
    good = _files(bad)
    _spoil(cluster, bad, first)
    bad.daemons[CONTROLLER].restart()
    wait_until(lambda: first.words in helpers.problem(cluster, "h3"), 60, "named after the restart")
    with helpers.traffic(cluster) as ping:
        helpers.switch(cluster, on=True)
        helpers.wait_state(cluster, "preparing (degraded)", 60)
        assert _is_named(cluster, first), helpers.summary(cluster)
        wait_until(lambda: helpers.states_with(h1, "h2") == {"encrypted"}, 120, "h1-h2 encrypted")
        ping.assert_only_ports_lost()
        say("bad credential on h3", lost=ping.lost, sent=ping.sent, at=ping.lost_at)
        ping.mark()
        for spoil in others:
            _spoil(cluster, bad, spoil)
            wait_until(lambda found=spoil: _is_named(cluster, found), 60, "the next fault named")
            assert helpers.state(cluster) == "establishing (degraded)"
            assert "encrypted" not in helpers.states_with(h1, "h3") | helpers.states_with(bad, "h1")
        ping.run(1)
        assert len(ping.esp) == 2
        assert ping.lost == 0
        assert [key for key in ping.clear if not {*bad.encap_ips} & {*key}] == []
        bad.place(good)
        helpers.wait_state(cluster, "enforced")
        helpers.wait_all_encrypted(cluster)
        assert ping.lost == 0
