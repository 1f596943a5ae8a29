# SPDX-License-Identifier: Apache-2.0
"""The tutorial that encrypts one tenant, typed word by word; the wire shows what it says."""

from __future__ import annotations

from functools import partial

import helpers
from reader import Reader, section

from ovn_ipsec.lab.cluster.cluster import Cluster
from ovn_ipsec.lab.hosts.tutorial import ONE_TENANT, Step
from ovn_ipsec.lab.waiting import wait_until
from ovn_ipsec.lab.witness.wire import Kind

MODES = {"1": "off", "3": "require", "4": "off", "5": "require"}
"""What explain says of the pair, by the number of the section."""


def _says(mode: str, text: str) -> bool:
    """Whether explain tells that SB carries this mode."""
    return f"SB carries  {mode}" in text


def _type(reader: Reader, step: Step) -> str:
    if step.command.startswith("ovn-ipsec explain"):
        return reader.type(step, until=partial(_says, MODES[step.section[0]]))
    return reader.type(step)


def test_one_tenant_is_encrypted_by_the_words_of_its_page(switched_off: Cluster) -> None:
    """Clear without a port of its, ESP with one on both ends, and clear again when one has left."""
    cluster = switched_off
    reader = Reader(cluster)
    with helpers.traffic(cluster) as ping:
        for number in ("1.", "2."):
            for step in section(ONE_TENANT, number):
                answer = _type(reader, step)
                if step.command.startswith("tcpdump"):
                    assert "Geneve" in answer
        ping.assert_only_ports_lost()
        for step in section(ONE_TENANT, "3."):
            answer = _type(reader, step)
            if step.command.startswith("tcpdump"):
                assert "ESP" in answer
                assert "Geneve" not in answer
        since = cluster.wire.mark()
        ping.run(2)
        seen = {
            kind
            for (kind, *ends), _ in cluster.wire.counts(since).items()
            if set(ends) == {"10.9.0.1", "10.9.0.2"}
        }
        assert seen == {Kind.ESP}
        for step in section(ONE_TENANT, "4."):
            _type(reader, step)
        ping.mark()
        wait_until(lambda: bool(ping.clear), helpers.PATIENCE_S, "clear again")
        for number in ("5.", "6."):
            for step in section(ONE_TENANT, number):
                _type(reader, step)
        helpers.wait_state(cluster, "enforced")
        helpers.wait_all_encrypted(cluster)
        ping.wait_answers()
