# SPDX-License-Identifier: Apache-2.0
"""One tunnel with static keys, measured with each cipher suite; ../uml boots the kernel for it.

No OVN, Open vSwitch or IKE daemon: two network namespaces, Geneve of the kernel between them, and
ESP in transport mode around it as our profiles have it. What measures is that of `ovn-ipsec
evaluate`, so the figures mean the same. Needs root and a kernel of its own::

    static.py FOLDER SECONDS REPEAT
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))

from ovn_ipsec import __version__
from ovn_ipsec.cli.evaluate import host, readings, traffic
from ovn_ipsec.cli.evaluate.picture import draw
from ovn_ipsec.cli.evaluate.port import NETWORK
from ovn_ipsec.cli.evaluate.summary import as_json
from ovn_ipsec.cli.evaluate.values import Facts, Findings, Series, Traffic
from ovn_ipsec.clock import utc_now

FAR = "far"
UNDERLAY = {NETWORK: "10.9.0.1", FAR: "10.9.0.2"}
INNER = {NETWORK: "169.254.77.1", FAR: "169.254.77.2"}
MTU, INNER_MTU = 1500, 1340
KEY = "0x" + "5a" * 36
ALGORITHMS = {
    "none": "",
    "default": f"aead rfc4106(gcm(aes)) {KEY[:74]} 128",
    "aes256-sha256": f"enc cbc(aes) {KEY[:66]} auth-trunc hmac(sha256) {KEY[:66]} 128",
    "chacha20": f"aead rfc7539esp(chacha20,poly1305) {KEY[:74]} 128",
}
"""By profile, as ip-xfrm(8) writes them: 256 bits, GCM and ChaCha20 with 4 bytes of salt."""

KINDS = (Traffic.IDLE, Traffic.ONE, Traffic.FOUR)
"""Not small packets: on the one processor of user-mode Linux iperf3 sends hardly any."""


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


def make() -> None:
    for module in ("geneve", "esp4", "gcm", "ccm", "cbc", "chacha20poly1305", "authenc", "seqiv"):
        subprocess.run(["modprobe", module], check=False, stderr=subprocess.DEVNULL)
    for name in UNDERLAY:
        ip("netns", "add", name)
    ip("link", "add", "u0", "netns", NETWORK, "type", "veth", "peer", "name", "u0", "netns", FAR)
    for name, other in ((NETWORK, FAR), (FAR, NETWORK)):
        inside = ("-n", name)
        ip(*inside, "addr", "add", f"{UNDERLAY[name]}/24", "dev", "u0")
        ip(*inside, "link", "set", "u0", "mtu", str(MTU), "up")
        tunnel = ("type", "geneve", "id", "7", "remote", UNDERLAY[other])
        ip(*inside, "link", "add", "g0", *tunnel)
        ip(*inside, "addr", "add", f"{INNER[name]}/30", "dev", "g0")
        ip(*inside, "link", "set", "g0", "mtu", str(INNER_MTU), "up")


def protect(profile: str) -> None:
    """Replace the SAs of both ends."""
    for name, other in ((NETWORK, FAR), (FAR, NETWORK)):
        inside = ("-n", name)
        ip(*inside, "xfrm", "state", "flush")
        ip(*inside, "xfrm", "policy", "flush")
        if not ALGORITHMS[profile]:
            continue
        words = ALGORITHMS[profile].split()
        for source, target, way in (
            (UNDERLAY[name], UNDERLAY[other], "out"),
            (UNDERLAY[other], UNDERLAY[name], "in"),
        ):
            ends = ("src", source, "dst", target)
            spi = "0x1001" if source == UNDERLAY[NETWORK] else "0x1002"
            same = ("proto", "esp", "reqid", "1", "mode", "transport")
            more = ("replay-window", "32")
            ip(*inside, "xfrm", "state", "add", *ends, "spi", spi, *same, *more, *words)
            chosen = ("src", f"{source}/32", "dst", f"{target}/32", "proto", "udp")
            ports = ("dport", "6081")
            ip(*inside, "xfrm", "policy", "add", *chosen, *ports, "dir", way, "tmpl", *ends, *same)


@contextmanager
def server() -> Iterator[None]:
    words = ["ip", "netns", "exec", FAR, *readings.server_words(INNER[FAR])]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.kill()
        process.wait()


def measure(profile: str, seconds: int, repeat: int) -> Series:
    protect(profile)
    runs = []
    for turn in range(repeat):
        for kind in KINDS:
            run = traffic.measure(kind, INNER[FAR], seconds, 0, host.sample)
            runs.append(run)
            mbps = run.carried.mbps if run.carried else 0.0
            print(f"{profile}, {turn + 1} of {repeat}: {kind} {mbps:.1f} Mbit/s", flush=True)
    state = "encrypted" if ALGORITHMS[profile] else "clear"
    return Series(profile=profile, state=state, suite=" ".join(suite(profile)), runs=tuple(runs))


def suite(profile: str) -> list[str]:
    """The algorithms without their keys."""
    return [word for word in ALGORITHMS[profile].split() if "(" in word]


def facts(name: str) -> Facts:
    model, processors = readings.read_cpuinfo(Path("/proc/cpuinfo").read_text())
    return Facts(
        chassis=name,
        kernel=platform.release(),
        boot="one",
        processor=model or platform.machine(),
        processors=processors,
        device="veth",
        mtu=MTU,
        offloads=(),
        drivers=readings.read_crypto(Path("/proc/crypto").read_text()),
    )


def main() -> None:
    folder, seconds, repeat = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    began = utc_now().isoformat(timespec="seconds")
    make()
    with server():
        series = tuple(measure(profile, seconds, repeat) for profile in ALGORITHMS)
    found = Findings(
        release=__version__,
        began=began,
        near=facts("near"),
        far=facts("far"),
        inner_mtu=INNER_MTU,
        seconds=seconds,
        rate_mbps=0,
        series=series,
    )
    Path(folder, "evaluation.json").write_text(json.dumps(as_json(found), indent=1))
    Path(folder, "evaluation.svg").write_text(draw(found))


if __name__ == "__main__":
    main()
