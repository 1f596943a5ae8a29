# SPDX-License-Identifier: Apache-2.0
"""A chassis that was taken over: it has its certificate, its role, and a link to the southbound.

It speaks JSON-RPC over TLS from its own host, so all that RBAC refuses is refused to it.

Source: RFC 7047; ovn northd/ovn-northd.c, rbac_chassis_auth and its like: it writes its own rows
in Chassis, Chassis_Private and Encap, and no others.
"""

from __future__ import annotations

import json
import os
import socket
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import helpers
from proving import ike, option

from ovn_ipsec.clock import utc_now
from ovn_ipsec.lab import namespaces
from ovn_ipsec.lab.cluster.chassis import CONTROLLER, Chassis
from ovn_ipsec.lab.cluster.cluster import Cluster
from ovn_ipsec.lab.cluster.settings import CENTRAL_IPV4, CREDENTIALS, SB_PORT
from ovn_ipsec.lab.errors import LabError
from ovn_ipsec.lab.waiting import stretched, wait_until
from ovn_ipsec.model.chassis import ChassisName
from ovn_ipsec.pki.keys import KeyKind, new_key
from ovn_ipsec.pki.profile import self_signed
from ovn_ipsec.pki.request import make_request

Operation = dict[str, Any]
ENCAPS = 1500
FIRST_PORT = 10_000
CHURN_S = 8.0
AT_ONCE = 20
"""Transactions on their way before an answer is waited for."""
FORGED = "2026-01-01T00:00:00Z|"
"""How a line of a log would begin that nobody has logged."""
ESCAPES = f"\x1b]0;owned\x07\x1b[2J\r\n{FORGED}ovn-ipsec-controller|ERROR|forged\x9b"
"""What would rename a terminal, wipe it, and stand in a log as a line of its own."""
JUNK = {
    "ovn-ipsec-generation": "99999999999999999999999",
    "ovn-ipsec-phase": "off; drop table",
    "ovn-ipsec-pairs": "encrypted=-1 blocked=nan",
    "ovn-ipsec-problem": ESCAPES * 40,
    "ovn-ipsec-auths": "none",
    "ovn-ipsec-expires": "0000-13-99",
    "ovn-ipsec-csr": "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----",
}
LIES = {
    "ovn-ipsec-agent": "ovn-ipsec 0.0.1",
    "ovn-ipsec-generation": "1",
    "ovn-ipsec-phase": "prepare",
    "ovn-ipsec-pairs": "encrypted=0 blocked=10000000",
    "ovn-ipsec-profiles": "default",
    "ovn-ipsec-auths": "",
    "ovn-ipsec-problem": "everything is on fire",
}
"""What would hold a rollout, veto a way to authenticate and a profile, and worry everybody."""
CERTIFICATE = "ovn-ipsec-cert"
QUARANTINE = "ovn-ipsec-quarantine"
RULE = "ovn-ipsec-rule-"
ZONE_RULES = {
    "301": "zone:dc1 zone:dc2 require profile=cnsa",
    "302": "zone:dc2 any require profile=default",
}
ZONES = ("availability-zones=dc1", "availability-zones=dc2")
REQUESTS = 40
"""Different ones; a writer takes them in turn."""


class Rogue:
    """The chassis, by its rows; ``undo`` makes them honest again."""

    def __init__(self, cluster: Cluster, chassis: Chassis) -> None:
        """Connect as the chassis."""
        self._cluster = cluster
        self._chassis = chassis
        self._decoder = json.JSONDecoder()
        self._received = ""
        self._id = 0
        with namespaces.inside_network(Path("/run/netns") / chassis.name):
            plain = socket.create_connection((CENTRAL_IPV4, SB_PORT), stretched(20))
        folder = chassis.path(CREDENTIALS)
        context = ssl.create_default_context(cafile=str(folder / "ca.pem"))
        context.check_hostname = False
        context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
        self._socket = context.wrap_socket(plain)

    def close(self) -> None:
        """Disconnect."""
        self._socket.close()

    # --- its tricks ------------------------------------------------------------------------

    def claim_the_port_of_ike(self) -> None:
        """Name 500 as the port of its tunnels: who guards it denies IKE to everybody."""
        self._options(dst_port="500")

    def name_many_ports(self) -> None:
        """Have so many encaps, each with a port of its own, and nobody behind any."""
        ips = (f"10.66.{number // 250}.{number % 250 + 1}" for number in range(ENCAPS))
        self._have(
            [
                ("geneve", self._chassis.encap_ips[0], {}),
                *(
                    ("geneve", ip, {"dst_port": str(FIRST_PORT + number)})
                    for number, ip in enumerate(ips)
                ),
            ]
        )

    def claim_an_address(self) -> None:
        """Say that it has a victim's address, under the type that the victim does not have."""
        victim = self._cluster.chassis["h2"].encap_ips[0]
        self._have([("vxlan", victim, {})])

    def write_a_junk_digest(self) -> None:
        """Say nonsense of itself."""
        self._digest(JUNK)

    def write_control_characters(self) -> None:
        """Write what a terminal would obey wherever text may stand."""
        self._transact(self._of_chassis("external_ids", **{CERTIFICATE: ESCAPES}))
        self._options(dst_port=ESCAPES, csum=ESCAPES, **{"ovn-ipsec-class": ESCAPES})
        self._digest({"ovn-ipsec-agent": ESCAPES, "ovn-ipsec-problem": ESCAPES})

    def churn(self) -> None:
        """Change its rows as fast as the database takes it."""
        self._write_on(
            lambda number: (
                self._options_of(dst_port=str(6081 + number % 2)),
                self._digest_of({"ovn-ipsec-pairs": f"encrypted={number}"}),
            )
        )

    def churn_its_zone(self) -> None:
        """Move from one availability zone to another and back, where rules tell them apart."""
        for priority, rule in ZONE_RULES.items():
            option(self._cluster, f"{RULE}{priority}", rule)
        zone = "ovn-cms-options"
        self._write_on(
            lambda number: (self._of_chassis("other_config", **{zone: ZONES[number % 2]}),)
        )

    def lie_about_itself(self) -> None:
        """Report as an old controller would that has not followed, cannot, and is in trouble."""
        self._digest(LIES)

    def flood_with_certificates(self) -> None:
        """Ask for one certificate after another, and show each time another one to its peers."""
        asked = [_request(self._chassis.name) for _ in range(REQUESTS)]
        shown = [_certificate(self._chassis.name) for _ in range(REQUESTS)]
        self._write_on(
            lambda number: (
                self._digest_of({**LIES, "ovn-ipsec-csr": asked[number % REQUESTS]}),
                self._of_chassis("external_ids", **{CERTIFICATE: shown[number % REQUESTS]}),
            )
        )

    def report_from_quarantine(self) -> None:
        """The operator bars it; it goes on to report, to move and to change its rows."""
        option(self._cluster, QUARANTINE, self._chassis.name)
        self._write_on(
            lambda number: (
                self._digest_of({**LIES, "ovn-ipsec-generation": str(number)}),
                self._options_of(dst_port=str(6081 + number % 2)),
            )
        )

    def _write_on(self, operations: Callable[[int], Sequence[Operation]]) -> None:
        """Write for a while, as fast as the database takes it."""
        end, done, rows = time.monotonic() + CHURN_S, 0, 0
        while time.monotonic() < end:
            wanted = [one for n in range(done, done + AT_ONCE) for one in operations(n)]
            for number in [self._ask(one) for one in wanted]:
                self._await(number)
            done, rows = done + AT_ONCE, rows + len(wanted)
        helpers.say("written", rows=rows, seconds=CHURN_S)

    def undo(self) -> None:
        """Have one encap, no digest, no zone, and nothing that the operator set against it."""
        for key in (QUARANTINE, *(f"{RULE}{priority}" for priority in ZONE_RULES)):
            option(self._cluster, key, None)
        self._have([("geneve", self._chassis.encap_ips[0], {})])
        self._digest({})
        self._transact(
            self._of_chassis("external_ids", **{CERTIFICATE: None}),
            self._of_chassis("other_config", **{"ovn-cms-options": None}),
        )

    # --- rows ------------------------------------------------------------------------------

    def _where(self, column: str) -> list[list[str]]:
        return [[column, "==", self._chassis.name]]

    def _have(self, encaps: Sequence[tuple[str, str, Mapping[str, str]]]) -> None:
        """Have these encaps, by type, address and options; the database drops those of before."""
        rows = [
            {
                "type": kind,
                "ip": ip,
                "options": ["map", [list(pair) for pair in options.items()]],
                "chassis_name": self._chassis.name,
            }
            for kind, ip, options in encaps
        ]
        names = [f"new{number}" for number in range(len(rows))]
        inserts = [
            {"op": "insert", "table": "Encap", "row": row, "uuid-name": name}
            for row, name in zip(rows, names, strict=True)
        ]
        references = {"encaps": ["set", [["named-uuid", name] for name in names]]}
        own = self._where("name")
        update = {"op": "update", "table": "Chassis", "where": own, "row": references}
        self._transact(*inserts, update)

    def _options(self, **values: str) -> None:
        self._transact(self._options_of(**values))

    def _options_of(self, **values: str) -> Operation:
        changes = [
            ["options", "delete", ["set", list(values)]],
            ["options", "insert", ["map", [list(pair) for pair in values.items()]]],
        ]
        where = self._where("chassis_name")
        return {"op": "mutate", "table": "Encap", "where": where, "mutations": changes}

    def _of_chassis(self, column: str, **values: str | None) -> Operation:
        """Set keys of a column of its Chassis row; None: take a key away."""
        changes: list[list[object]] = [[column, "delete", ["set", list(values)]]]
        if set_ := [[key, text] for key, text in values.items() if text is not None]:
            changes.append([column, "insert", ["map", set_]])
        own = self._where("name")
        return {"op": "mutate", "table": "Chassis", "where": own, "mutations": changes}

    def _digest(self, values: Mapping[str, str]) -> None:
        self._transact(self._digest_of(values))

    def _digest_of(self, values: Mapping[str, str]) -> Operation:
        table, where = "Chassis_Private", self._where("name")
        row = {"external_ids": ["map", [list(pair) for pair in values.items()]]}
        return {"op": "update", "table": table, "where": where, "row": row}

    # --- the wire --------------------------------------------------------------------------

    def _transact(self, *operations: Operation) -> None:
        self._await(self._ask(*operations))

    def _ask(self, *operations: Operation) -> int:
        self._id += 1
        params = ["OVN_Southbound", *operations]
        self._send({"method": "transact", "params": params, "id": self._id})
        return self._id

    def _await(self, number: int) -> None:
        """Answers come in the order of the requests."""
        while (message := self._receive()).get("id") != number or "method" in message:
            if message.get("method") == "echo":
                self._send({"result": message["params"], "error": None, "id": message["id"]})
        results = message["result"]
        assert not [one for one in results if one and one.get("error")], results
        assert all(one.get("count", 1) for one in results), "no row of its own is left"

    def _send(self, message: Mapping[str, Any]) -> None:
        self._socket.sendall(json.dumps(message).encode())

    def _receive(self) -> dict[str, Any]:
        while True:
            try:
                found, end = self._decoder.raw_decode(self._received)
            except ValueError:
                chunk = self._socket.recv(1 << 16)
                assert chunk, "the southbound has hung up"
                self._received += chunk.decode(errors="surrogateescape")
                continue
            self._received = self._received[end:].lstrip()
            message: dict[str, Any] = found
            return message


TRICKS: Mapping[str, Callable[[Rogue], None]] = {
    "port-500": Rogue.claim_the_port_of_ike,
    "1500-ports": Rogue.name_many_ports,
    "address-of-a-victim": Rogue.claim_an_address,
    "junk-digest": Rogue.write_a_junk_digest,
    "control-characters": Rogue.write_control_characters,
    "churn": Rogue.churn,
    "zone-churn": Rogue.churn_its_zone,
    "lying-digest": Rogue.lie_about_itself,
    "certificate-flood": Rogue.flood_with_certificates,
    "from-quarantine": Rogue.report_from_quarantine,
}
GOES_ON = frozenset({"churn", "zone-churn", "certificate-flood", "from-quarantine"})
"""Tricks that last: what they cost the others meanwhile counts, too."""
IS_WAITED_FOR = frozenset({"zone-churn", "lying-digest"})
"""After these a gate is open until the chassis follows, or for 300 s, which
tests/unit/northd_ext/test_northd_whole.py sits out in virtual time."""


def _request(name: str) -> str:
    """Make a certificate request with a new key."""
    return make_request(new_key(KeyKind.ECDSA_P256), ChassisName(name))


def _certificate(name: str) -> str:
    """Make a certificate of one's own with a new key, as a chassis that is pinned has it."""
    begin, key = utc_now(), new_key(KeyKind.ECDSA_P256)
    return self_signed(key, ChassisName(name), timedelta(days=1), begin)


# --- what it costs the others ----------------------------------------------------------------


@dataclass(frozen=True)
class Cost:
    """What controllers have had of a processor since a moment: proc(5), stat."""

    at: float
    spent: Mapping[str, float]

    @classmethod
    def now(cls, chassis: Sequence[Chassis]) -> Cost:
        """Look at all of them."""
        return cls(time.monotonic(), {one.name: _processor_s(one) for one in chassis})

    def cores_since(self, before: Cost) -> dict[str, float]:
        """Return how much of a processor each has had in between."""
        took = self.at - before.at
        return {name: (self.spent[name] - before.spent[name]) / took for name in self.spent}


def _processor_s(chassis: Chassis) -> float:
    stat = Path(f"/proc/{chassis.daemons[CONTROLLER].pid}/stat").read_text()
    fields = stat.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rekeys(one: Chassis, other: Chassis) -> bool:
    """Tell whether two chassis can still talk IKE: one has a new IKE_SA with the other made."""
    before = _ike_spis(one, other)
    with ike(one) as session:
        list(session.rekey({"ike": f"ovn-{other.name}@{other.encap_ips[0]}%{one.encap_ips[0]}"}))

    def renewed() -> bool:
        now = _ike_spis(one, other)
        return bool(now) and not now & before

    try:
        return wait_until(renewed, 30, f"a new IKE_SA of {one.name} and {other.name}")
    except LabError:
        return False


def _ike_spis(one: Chassis, other: Chassis) -> set[bytes]:
    with ike(one) as session:
        found = (sa for sas in session.list_sas() for sa in sas.values())
        return {
            sa["initiator-spi"]
            for sa in found
            if sa["remote-host"] == other.encap_ips[0].encode() and sa["state"] == b"ESTABLISHED"
        }


def wait_flows(cluster: Cluster, names: Sequence[str]) -> None:
    """Wait until the ovn-controllers of the honest have installed the flows for all that is set.

    Each renews its tunnel port to the rogue when that has other rows, and what is under way then
    may be lost: that is OVN's.
    """
    cluster.nbctl("--wait=sb", "sync")
    wanted = int(cluster.nb.row("NB_Global", "nb_cfg")["nb_cfg"])

    def done() -> bool:
        rows = cluster.sb.rows("Chassis_Private", "name", "nb_cfg")
        return all(int(row["nb_cfg"]) >= wanted for row in rows if row["name"] in names)

    wait_until(done, helpers.PATIENCE_S, "the flows of the honest")


def wait_honest(cluster: Cluster, names: Sequence[str]) -> None:
    """Wait until the honest are encrypted with each other."""
    ends = [(cluster.chassis[one], other) for one in names for other in names if one != other]

    def up() -> bool:
        return all(helpers.states_with(one, other) == {"encrypted"} for one, other in ends)

    wait_until(up, helpers.PATIENCE_S, "the honest encrypted with each other")
