# SPDX-License-Identifier: Apache-2.0
"""A peer that a real ovs-monitor-ipsec serves: its own words, its own daemons."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from controller.ike.strongswan import StrongSwan
from controller.plan.connection import ConnConfig, IkeSa
from controller.plan.credentials.credential import Secret
from controller.plan.credentials.proof import in_plain
from ovn_ipsec.lab.waiting import stretched
from ovn_ipsec.model.policy import Auth
from tests.contracts.ike_backend import config, seen
from tests.functional import charon
from tests.functional.test_ike_strongswan import clean

MONITOR = Path("/usr/share/openvswitch/scripts/ovs-monitor-ipsec")
STARTER = Path("/usr/lib/ipsec/starter")
WORDS = "a-secret-of-the-stock-kind"
WAIT_S = 60.0
ROOT = Path(__file__).parents[2]

pytestmark = [
    pytest.mark.skipif(bool(charon.missing()), reason=f"needs {charon.missing()}"),
    pytest.mark.skipif(not MONITOR.exists(), reason="needs package openvswitch-ipsec"),
    pytest.mark.skipif(not STARTER.exists(), reason="needs package strongswan-starter"),
]

# An /etc and a /run of its own: ovs-monitor-ipsec and starter know no other places.
SCRIPT = f"""
mount -t tmpfs run /run
mkdir -p /run/openvswitch /run/lock
cp -a /etc /run/etc
mount --bind /run/etc /etc
printf 'charon {{ filelog {{ own {{ path = %s \\n flush_line = yes }} }} }}' "$LOG" \\
    >/etc/strongswan.d/zz-log.conf
ovsdb-tool create /run/conf.db /usr/share/openvswitch/vswitch.ovsschema
ovsdb-server --detach --no-chdir --pidfile --remote=punix:/run/openvswitch/db.sock /run/conf.db
ovs-vsctl --no-wait init
ovs-vsctl --no-wait add-br br0 -- add-port br0 gen0 -- set Interface gen0 type=geneve \\
    options:remote_ip=10.9.0.1
/usr/bin/python3 {MONITOR} --pidfile --ike-daemon=strongswan unix:/run/openvswitch/db.sock &
"""


class Stock:
    """The peer, by a shell in its namespaces; all of it ends with that."""

    def __init__(self, netns: str, folder: Path) -> None:
        self.netns = netns
        self.logs = [folder / "stock.log", folder / "stock-charon.log"]
        own = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
        with self.logs[0].open("wb") as out:
            self.shell = subprocess.Popen(
                ["ip", "netns", "exec", netns, *own, "sh", "-e"],
                stdin=subprocess.PIPE, stdout=out, stderr=out, text=True,
            )  # fmt: skip
        self.run(f"LOG={self.logs[1]}{SCRIPT}")

    def run(self, command: str) -> None:
        """Have a command run, some time soon."""
        assert self.shell.stdin is not None
        self.shell.stdin.write(command + "\n")
        self.shell.stdin.flush()

    def configure(self, table: str, row: str, *settings: str) -> None:
        """Have columns set, some time soon."""
        self.run(" ".join(["ovs-vsctl --no-wait set", table, row, *settings]))

    def says(self, words: str) -> bool:
        """Whether its programs have said so."""
        return words in self.log

    @property
    def log(self) -> str:
        """All that its programs have said."""
        return "".join(p.read_text(errors="replace") for p in self.logs if p.exists())

    def close(self) -> None:
        """End it."""
        self.shell.kill()
        self.shell.communicate()


@pytest.fixture(scope="module")
def both() -> Iterator[tuple[charon.Charon, Stock]]:
    with charon.two_charons() as (ours, theirs):
        theirs.kill()
        stock = Stock(theirs.netns, theirs.folder)
        try:
            stock.configure("Interface", "gen0", f"options:psk={WORDS}")
            wait(stock, lambda: stock.says("added child to existing configuration 'gen0-in-1'"))
            yield ours, stock
        finally:
            stock.close()


def wait(stock: Stock, happened) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + stretched(WAIT_S)
    while not happened():
        assert time.monotonic() < deadline, stock.log[-3000:]
        time.sleep(0.05)


@pytest.fixture
def ike(both: tuple[charon.Charon, Stock]) -> Iterator[StrongSwan]:
    backend = StrongSwan(both[0].uri)
    backend.open()
    yield backend
    clean(backend)


def plain(words: str) -> ConnConfig:
    """The connection that the controller loads for a chassis in ovn-ipsec-psk-plain."""
    conn = config(auth=Auth.PSK)
    return replace(conn, proofs=in_plain(conn.proofs, Secret(words.encode()), conn.pair.remote))


def established(ike: StrongSwan) -> list[IkeSa]:
    return [sa for sa in seen(ike.observe_sas(config().name)) if sa.state == "ESTABLISHED"]


def test_we_start_with_a_stock_peer(ike: StrongSwan, both: tuple[charon.Charon, Stock]):
    """It takes our suite and our address for an identity."""
    conn = plain(WORDS)
    ike.load(conn)
    ike.initiate(conn.name, "out")
    wait(both[1], lambda: established(ike))
    (sa,) = established(ike)
    assert (sa.auth, sa.initiator, sa.remote_id) == (Auth.PSK, True, "10.9.0.2")
    assert sa.suite.startswith("AES_GCM_16-256/PRF_HMAC_SHA2_256/MODP_2048")


def test_a_stock_peer_starts_with_us(ike: StrongSwan, both: tuple[charon.Charon, Stock]):
    """By the connection that ovs-monitor-ipsec has written."""
    ike.load(plain(WORDS))
    both[1].run("ipsec stroke up-nb gen0-out-1")
    wait(both[1], lambda: established(ike))
    (sa,) = established(ike)
    assert (sa.auth, sa.initiator, sa.remote_id) == (Auth.PSK, False, "10.9.0.2")


@pytest.mark.parametrize("kind", ["another secret", "derived"])
def test_a_stock_peer_refuses_what_is_not_its_secret(
    ike: StrongSwan, both: tuple[charon.Charon, Stock], kind: str
):
    """Nor would it know the key that two controllers derive."""
    conn = plain("another secret of that kind") if kind != "derived" else config(auth=Auth.PSK)
    ike.load(conn)
    ike.drain()
    ike.initiate(conn.name, "out")
    said: list[str] = []

    def refused() -> bool:
        said.extend(text for _, text in ike.drain().messages)
        return any("AUTHENTICATION_FAILED" in text for text in said)

    wait(both[1], refused)
    assert established(ike) == []


def test_the_stock_daemon_is_found_where_it_runs_and_nowhere_else(
    both: tuple[charon.Charon, Stock],
):
    """By its command line, in one's own network namespace; `ip netns exec` makes it one's own."""
    script = "from controller.ports.ovsdb import live_monitor_ipsec as found; print(found() or 0)"

    def found(netns: str) -> int:
        argv = ["ip", "netns", "exec", netns, sys.executable, "-c", script]
        return int(subprocess.run(argv, check=True, capture_output=True, cwd=ROOT).stdout)

    assert MONITOR.name in Path(f"/proc/{found(both[1].netns)}/cmdline").read_text()
    assert found(both[0].netns) == 0
