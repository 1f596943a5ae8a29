# SPDX-License-Identifier: Apache-2.0
"""Unknown is not off: what is emptied, restored, forgotten or renamed opens nothing.

Each under traffic; the witness sees every packet of every host.
"""

from __future__ import annotations

import faults
import helpers
from faults import CONFIRM, NORTHD, SHOWN_S
from helpers import say
from proving import option, place

from ovn_ipsec.lab.cluster.chassis import CONTROLLER
from ovn_ipsec.lab.cluster.cluster import Cluster
from ovn_ipsec.lab.waiting import wait_until


def test_emptied_northbound_switches_nothing_off_until_that_is_confirmed(enforced: Cluster) -> None:
    """Without a row and with a fresh one; the error says so; confirmed, it is an order like any."""
    cluster = enforced
    before, reached = helpers.spis(cluster), helpers.generation(cluster)
    with helpers.traffic(cluster) as ping, faults.another_northbound(cluster):
        faults.replace(cluster, "nb", None)
        ping.run(SHOWN_S)
        cluster.nbctl("init")
        wait_until(lambda: CONFIRM in faults.error(cluster), 60, "the error names the way out")
        assert reached in faults.error(cluster)
        assert helpers.state(cluster) == "enforced (degraded)"
        assert cluster.nb.row("NB_Global", "ipsec")["ipsec"] is False
        ping.run(SHOWN_S)
        say("northbound emptied", lost=ping.lost, sent=ping.sent)
        assert ping.lost == 0
        ping.assert_encrypted()
        assert helpers.spis(cluster) == before
        # Another generation than the one in force confirms nothing.
        option(cluster, CONFIRM, str(int(reached) - 1))
        ping.run(SHOWN_S)
        assert ping.clear == {}
        assert helpers.state(cluster) == "enforced (degraded)"
        faults.confirm(cluster)
        helpers.wait_state(cluster, "off")
        assert int(helpers.generation(cluster)) > int(reached)
    helpers.wait_state(cluster, "enforced")


def test_emptied_northbound_that_says_true_goes_on(enforced: Cluster) -> None:
    """``ipsec=true`` weakens nothing and needs no confirmation; a northd that starts then holds."""
    cluster = enforced
    with helpers.traffic(cluster) as ping, faults.another_northbound(cluster):
        cluster.central.daemons[NORTHD].kill()
        faults.replace(cluster, "nb", None)
        cluster.nbctl("init")
        cluster.central.daemons[NORTHD].start()
        wait_until(lambda: CONFIRM in faults.error(cluster), 60, "the error names the way out")
        assert ping.clear == {}
        helpers.switch(cluster, on=True)
        helpers.wait_state(cluster, "enforced")
        assert faults.error(cluster) == ""
        assert ping.lost == 0
        ping.assert_encrypted()


def test_restored_southbound_opens_nothing(switched_off: Cluster) -> None:
    """A backup from before the switch: refused by the controllers, overtaken by northd."""
    cluster = switched_off
    old = faults.backup(cluster, "sb")
    helpers.enforce(cluster)
    helpers.wait_all_encrypted(cluster)
    reached = int(helpers.generation(cluster))
    northd = cluster.central.daemons[NORTHD]
    with helpers.traffic(cluster) as ping:
        northd.kill()
        faults.replace(cluster, "sb", old)
        h1 = cluster.chassis["h1"]
        wait_until(lambda: faults.complaints(h1), 60, "h1 says that it is older")
        ping.run(SHOWN_S)
        assert all(map(faults.guards, cluster.chassis.values()))
        assert ping.clear == {}
        northd.start()
        wait_until(lambda: _generation(cluster) > reached, 60, "a newer generation")
        helpers.wait_state(cluster, "enforced")
        helpers.wait_all_encrypted(cluster)
        say("southbound restored", lost=ping.lost, sent=ping.sent, at=ping.lost_at)
        ping.assert_encrypted()
        ping.mark()
        ping.run(2)
        assert ping.lost == 0
        ping.assert_encrypted()


def test_controller_restarted_beside_a_southbound_without_policy_keeps_the_guard(
    enforced: Cluster,
) -> None:
    """It has no policy then and says so; SAs, guard and traffic stay until there is one again."""
    cluster, h1 = enforced, enforced.chassis["h1"]
    northd = cluster.central.daemons[NORTHD]
    before = helpers.spis(cluster)
    with helpers.traffic(cluster) as ping:
        northd.kill()
        faults.forget_policy(cluster)
        h1.daemons[CONTROLLER].kill()
        h1.daemons[CONTROLLER].start()
        wait_until(lambda: faults.complaints(h1), 60, "h1 says that it has no policy")
        ping.run(SHOWN_S)
        assert faults.guards(h1)
        assert ping.lost == 0
        ping.assert_encrypted()
        # With its SAs gone, too, it is the guard alone that holds.
        h1.daemons["charon"].stop()
        h1.run(["ip", "xfrm", "state", "flush"])
        ping.run(SHOWN_S)
        assert faults.guards(h1)
        assert ping.clear == {}
        h1.daemons["charon"].start()
        northd.start()
        helpers.wait_state(cluster, "enforced")
        helpers.wait_all_encrypted(cluster)
        ping.assert_encrypted()
    assert helpers.spis(cluster)["h2", "h3"] == before["h2", "h3"]


def test_renamed_chassis_is_never_without_its_guard_and_its_pairs_come_back(
    enforced: Cluster,
) -> None:
    """h3 becomes h3-new, with a certificate in that name, and h3 again, without a clear packet."""
    cluster, h3 = enforced, enforced.chassis["h3"]
    folder = "/etc/ovn-ipsec/renamed"
    watch = faults.TableWatch(h3)
    try:
        with helpers.traffic(cluster, "w1", "w3") as ping:
            for name in ("h3-new", "h3"):
                place(h3, cluster.authority.issue(name), f"{folder}-{name}")
                # A running ovn-controller 23.03 never gets past its own Encap row of before.
                h3.appctl("ovn-controller", "exit")
                wait_until(
                    lambda: not h3.daemons["ovn-controller"].is_alive, 60, "ovn-controller gone"
                )
                h3.external_ids(system_id=name)
                h3.daemons["ovn-controller"].start()
                _wait_encrypted_with(cluster, name)
                took = ping.wait_answers(20)
                say("renamed", to=name, traffic_s=f"{took:.1f}", lost=ping.lost)
                assert ping.clear == {}
                ping.mark()
    finally:
        gone = watch.stop()
        h3.configure_credentials()
    assert gone == ""
    helpers.wait_state(cluster, "enforced")
    helpers.wait_all_encrypted(cluster)


def _wait_encrypted_with(cluster: Cluster, name: str) -> None:
    """Wait until h1 and h2 are encrypted with a chassis of that name, and it with them."""
    ends = [(cluster.chassis[one], name) for one in ("h1", "h2")]
    ends += [(cluster.chassis["h3"], one) for one in ("h1", "h2")]

    def up() -> bool:
        named = faults.status(cluster.chassis["h3"])["chassis"] == name
        return named and all(helpers.states_with(*end) == {"encrypted"} for end in ends)

    try:
        wait_until(up, helpers.PATIENCE_S, f"pairs of {name}")
    except Exception:
        print([(one.name, peer, helpers.states_with(one, peer)) for one, peer in ends])
        print(faults.status(cluster.chassis["h3"]))
        raise


def _generation(cluster: Cluster) -> int:
    return int(helpers.generation(cluster) or 0)
