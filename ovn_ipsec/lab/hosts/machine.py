# SPDX-License-Identifier: Apache-2.0
"""One host: QEMU with a disk of its own, a card on the wire, a console and an agent.

Edge (QEMU). What the host writes is still there when it is rebooted or powered on again.
"""

from __future__ import annotations

import contextlib
import subprocess
from pathlib import Path

from ovn_ipsec.lab.errors import LabError
from ovn_ipsec.lab.waiting import stretched, wait_until

from .agent import Agent, Done
from .image import Image
from .recipe import HOSTS, HostName, kernel_words
from .underlay import capture_of

MEMORY_MIB = 2048
UP_S = 400.0
"""How long a host may take from power-on to its agent; 20 to 40 s were seen on two idle cores."""
DOWN_S = 200.0
"""How long it may take to end by itself: systemd gives a unit 90 s."""


class Machine:
    """A host; ``start`` powers it on, ``stop`` ends it by force."""

    def __init__(self, host: HostName, image: Image, folder: Path) -> None:
        """Remember where its files are: its disk, its sockets, its console's log, its captures."""
        self.host = host
        self._image = image
        self._folder = folder
        self._agent = Agent(folder / f"{host.name}.agent")
        self._process: subprocess.Popen[bytes] | None = None
        self._life = 0

    @property
    def name(self) -> str:
        """Its host name."""
        return self.host.name

    @property
    def console(self) -> Path:
        """The socket of its serial console, where root is logged in."""
        return self._folder / f"{self.name}.console"

    def start(self) -> None:
        """Power it on; it is not up yet.

        Raises:
            LabError: It is on already.
        """
        if self._process is not None and self._process.poll() is None:
            raise LabError(f"{self.name} is on already")
        disk = self._folder / f"{self.name}.disk"
        if not disk.exists():
            subprocess.run(["cp", "--sparse=always", str(self._image.disk), str(disk)], check=True)
        for socket in (self.console, self._wire(self.host)):
            socket.unlink(missing_ok=True)
        self._life += 1
        with (self._folder / f"{self.name}.qemu.log").open("ab") as log:
            self._process = subprocess.Popen(
                self._argv(disk), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def wait_up(self, other_than: str = "") -> str:
        """Wait until commands can be run in it, and return the id of this boot.

        Args:
            other_than: The id of an earlier boot.

        Raises:
            LabError: It ended, or is not up in time.
        """

        def booted() -> str:
            if self._process is None or self._process.poll() is not None:
                return "off"
            found = self.boot_id()
            return found if found != other_than else ""

        found = wait_until(booted, UP_S, f"{self.name} up", every=0.5)
        if found == "off":
            raise LabError(f"{self.name} is off: see {self.name}.qemu.log")
        return found

    def boot_id(self) -> str:
        """Return what tells this boot from others."""
        return self.check("cat /proc/sys/kernel/random/boot_id", timeout=20).strip()

    def run(self, script: str, *, stdin: bytes = b"", timeout: float = 60.0) -> Done:
        """Run a script as root in it; see ``Agent.run``."""
        return self._agent.run(script, stdin=stdin, timeout=timeout)

    def check(self, script: str, *, stdin: bytes = b"", timeout: float = 60.0) -> str:
        """Run a script that is to succeed as root in it; see ``Agent.check``."""
        return self._agent.check(script, stdin=stdin, timeout=timeout)

    def put(self, path: str, content: bytes) -> None:
        """Write a file in it, and the folders above."""
        self.check(f'mkdir -p "$(dirname {path})" && cat > {path}', stdin=content)

    def reboot(self) -> None:
        """Reboot it as a person does, and wait until it is up again, with all its units.

        Raises:
            LabError: It is not up in time.
        """
        before = self.boot_id()
        # The agent may be gone before it has answered.
        with contextlib.suppress(OSError):
            self.check("systemctl --no-block reboot")
        self.wait_up(other_than=before)
        self.wait_booted()

    def wait_booted(self) -> None:
        """Wait until every unit that a boot starts has started, or failed.

        Raises:
            LabError: It hangs.
        """
        self.run("systemctl is-system-running --wait", timeout=UP_S)

    def cut_power(self) -> None:
        """End it at once, whatever it does; ``start`` powers it on again."""
        self._end()

    def power_off(self) -> None:
        """Let it end by itself.

        Raises:
            LabError: It does not in time.
        """
        with contextlib.suppress(OSError):
            self.check("systemctl --no-block poweroff")
        process = self._process
        off = f"{self.name} off"
        wait_until(lambda: process is None or process.poll() is not None, DOWN_S, off)

    def stop(self) -> None:
        """End it by force if it is on."""
        self._end()

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(stretched(30))

    def _wire(self, host: HostName) -> Path:
        return self._folder / f"{host.name}.wire"

    def _argv(self, disk: Path) -> list[str]:
        [peer] = [one for one in HOSTS if one != self.host]
        wire = (
            f"dgram,id=wire,local.type=unix,local.path={self._wire(self.host)}"
            f",remote.type=unix,remote.path={self._wire(peer)}"
        )
        capture = capture_of(self._folder, self.host, self._life)
        console = f"{self.console},server=on,wait=off,logappend=on"
        agent = f"{self._folder / self.name}.agent,server=on,wait=off"
        return [
            "qemu-system-x86_64",
            *("-accel", "tcg,thread=multi,tb-size=512", "-cpu", "max", "-smp", "1"),
            *("-m", str(MEMORY_MIB), "-display", "none", "-monitor", "none", "-nodefaults"),
            *("-kernel", str(self._image.kernel), "-initrd", str(self._image.initrd)),
            *("-append", kernel_words(self.host)),
            # What the host has written is safe with us, also when its power is cut.
            *("-drive", f"file={disk},format=raw,if=virtio,cache=unsafe"),
            *("-netdev", wire),
            *("-device", f"virtio-net-pci,netdev=wire,mac={self.host.mac},romfile="),
            *("-object", f"filter-dump,id=capture,netdev=wire,file={capture}"),
            *("-chardev", f"socket,id=console,path={console},logfile={console_log(self)}"),
            *("-serial", "chardev:console", "-device", "virtio-rng-pci"),
            *("-device", "virtio-serial-pci", "-chardev", f"socket,id=agent,path={agent}"),
            *("-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0"),
        ]


def console_log(machine: Machine) -> Path:
    """Return the file with all that a host wrote to its console."""
    return machine.console.with_suffix(".log")
