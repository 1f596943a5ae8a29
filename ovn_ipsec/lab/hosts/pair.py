# SPDX-License-Identifier: Apache-2.0
"""Two hosts on one wire with OVN on both, in clear, as an operator has them before ovn-ipsec.

Edge (the hosts). They are set up by the first chapter of docs/tutorial.md: the first is also
central, and each has one workload, an interface behind a logical port, in the host's own network
namespace. A router whose gateway either may be makes ovn-controller run BFD over the tunnel, so
that a tunnel is never silent.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType

from ovn_ipsec.lab.errors import LabError
from ovn_ipsec.lab.making import Progress
from ovn_ipsec.lab.waiting import wait_until

from . import tutorial
from .image import Image
from .machine import Machine
from .recipe import H1, H2, HOSTS, HostName
from .tutorial import Step
from .underlay import Underlay

DEBS = "build/deb"
"""Where our packages are in a host, below root's home: as the documentation says."""
ANSWER_S = 240.0
"""How long a workload may be away for good reasons, on a machine of the usual speed."""
DATABASES_S = 180.0
"""How long after its agent a host may take to have its databases up."""

STEP_S = 420.0
"""How long a command of the tutorial may take: one of them waits for 300 s itself."""

_UP = {
    H1: "ovs-vsctl show && ovn-nbctl show && ovn-sbctl show",
    H2: "ovs-vsctl show",
}
"""What succeeds once OVN's units have started, as they have where apt has just installed them."""
_BUSY = f"""ovn-nbctl lr-add router -- lrp-add router gateway 02:00:00:00:00:fe 198.51.100.254/24 \\
    -- lsp-add net to-router -- lsp-set-type to-router router \\
    -- lsp-set-addresses to-router router -- lsp-set-options to-router router-port=gateway \\
    -- lrp-set-gateway-chassis gateway {H1.name} 2 -- lrp-set-gateway-chassis gateway {H2.name} 1
"""

_STATE = """exec 2>&1
for command in 'systemctl --failed' 'ovn-ipsec peers' 'ovs-vsctl show' 'ip -s xfrm state' \\
    'ip xfrm policy' 'nft list ruleset' 'swanctl --list-sas' 'ovs-appctl dpctl/show -s' \\
    'ovs-ofctl dump-aggregate br-int' 'tail -n 300 /var/log/openvswitch/ovs-vswitchd.log' \\
    'tail -n 300 /var/log/ovn/ovn-controller.log' 'journalctl -o short-precise'
do echo "--- $command"; $command; done | sed -E 's/(0x[0-9a-f]{8})[0-9a-f]{24,}/\\1.../'
"""
"""Keys of SAs are cut."""


@dataclass(frozen=True, slots=True)
class Typed:
    """A command of the tutorial, and what came out."""

    step: Step
    output: str


class Pair:
    """Both hosts; a context manager that powers them on and ends them."""

    def __init__(self, images: tuple[Image, Image], folder: Path, progress: Progress) -> None:
        """Remember what each is made of; the folder is theirs alone."""
        self.h1, self.h2 = (
            Machine(host, image, folder) for host, image in zip(HOSTS, images, strict=True)
        )
        self.underlay = Underlay(folder)
        self._folder = folder
        self._progress = progress

    @property
    def hosts(self) -> tuple[Machine, Machine]:
        """Both, the central one first."""
        return self.h1, self.h2

    def __enter__(self) -> Pair:
        self._folder.mkdir(parents=True, exist_ok=True)
        try:
            for host in self.hosts:
                host.start()
            for host in self.hosts:
                host.wait_up()
                self._progress(f"{host.name} is up")
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()

    def set_up(self, debs: Sequence[Path]) -> None:
        """Make a cluster of OVN of them by the tutorial, and put our packages beside it.

        Raises:
            LabError: It does not carry traffic.
        """
        for host in self.hosts:
            up = partial(self._succeeds, host, _UP[host.host])
            wait_until(up, DATABASES_S, f"OVN's databases on {host.name}", every=1.0)
        self.enter_chapter(1)
        self.h1.check(_BUSY)
        for host, peer in (self.hosts, reversed(self.hosts)):
            self.give(host, debs)
            host.check(f"systemctl enable --now traffic@{peer.host.workload_address}")
        self.wait_answers()
        self._progress("OVN is up, and the workloads reach each other, in clear")

    def enter_chapter(self, number: int) -> list[Typed]:
        """Type what a chapter of the tutorial says, and return it with what came out.

        Raises:
            LabError: A command fails, or asks in vain.
        """
        steps = tutorial.steps(tutorial.TUTORIAL.read_text("utf-8"))
        typed: list[Typed] = []
        with ThreadPoolExecutor(len(self.hosts)) as keyboards:
            for together in tutorial.rounds(step for step in steps if step.chapter == number):
                outputs = keyboards.map(self.enter, together)
                typed += map(Typed, together, outputs)
        return typed

    def enter(self, step: Step) -> str:
        """Type one command of the tutorial where it says, and return what came out.

        Raises:
            LabError: It fails, or asks in vain.
        """
        [host] = [one for one in self.hosts if one.name == step.host]
        self._progress(f"{host.name}# {step.command}")
        if step.command == "reboot":
            host.reboot()
            return ""
        if step.is_question:
            asked = partial(host.check, step.command, timeout=STEP_S)
            return wait_until(lambda: asked() or " ", ANSWER_S, step.command, every=1.0)
        return host.check(step.command, timeout=STEP_S)

    def give(self, host: Machine, debs: Sequence[Path], folder: str = DEBS) -> None:
        """Copy packages into a folder of a host, below root's home."""
        for deb in debs:
            host.put(f"{folder}/{deb.name}", deb.read_bytes())

    def wait_answers(self, timeout: float = ANSWER_S) -> None:
        """Wait until the workloads reach each other both ways.

        Raises:
            LabError: They do not in time.
        """
        for host, peer in (self.hosts, reversed(self.hosts)):
            what = f"{peer.host.workload} answers {host.host.workload}"
            wait_until(partial(answers, host, peer.host), timeout, what)

    def wait_forwarding(self, timeout: float = ANSWER_S) -> None:
        """Wait until each ovs-vswitchd hears the BFD of the other host.

        Answers to a ping may still come by what the kernel has of a daemon before; BFD needs this
        one, and all its flows. OVN 26.03 holds it back until it has written them.

        Raises:
            LabError: One does not in time.
        """
        for host in self.hosts:
            wait_until(partial(hears_bfd, host), timeout, f"BFD is up on {host.name}")

    def save_logs(self, folder: Path) -> None:
        """Write what each host logged and shows of itself; a host that is off has its console."""
        folder.mkdir(parents=True, exist_ok=True)
        for host in self.hosts:
            try:
                text = host.run(_STATE, timeout=120).output
            except (OSError, LabError) as error:
                text = f"{error}\n"
            (folder / f"{host.name}.txt").write_text(text, "utf-8")
        for path in (*self._folder.glob("*.log"), *self._folder.glob("*.pcap")):
            (folder / path.name).write_bytes(path.read_bytes())

    @staticmethod
    def _succeeds(host: Machine, script: str) -> bool:
        return host.run(script).status == 0

    def _stop(self) -> None:
        for host in self.hosts:
            host.stop()


def answers(host: Machine, peer: HostName) -> bool:
    """Return whether a host's workload gets an answer from that of the other."""
    return host.run(f"ping -n -q -c 1 -W 2 {peer.workload_address}").status == 0


def hears_bfd(host: Machine) -> bool:
    """Return whether a BFD session of a host's ovs-vswitchd is up."""
    return "Local Session State: up" in host.run("ovs-appctl bfd/show").output
