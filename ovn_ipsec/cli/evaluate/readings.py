# SPDX-License-Identifier: Apache-2.0
"""Pure: how to ask iperf3, what it answers, and what the kernel says in /proc.

Source: iperf3(1), proc(5), linux crypto/proc.c, net/xfrm/xfrm_algo.c.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ...errors import EdgeError
from ...model.text import printable
from .values import SMALL_BYTES, STREAMS, Carried, Sample, Traffic

PORT = 5201
CONNECT_MS = 20000
"""What a machine that is emulated and busy may take."""
ESP_ALGORITHMS = {
    "aes-gcm": ("rfc4106(gcm(aes))",),
    "aes-cbc with hmac-sha256": (
        "authencesn(hmac(sha256),cbc(aes))",
        "authenc(hmac(sha256),cbc(aes))",
    ),
    "chacha20-poly1305": ("rfc7539esp(chacha20,poly1305)",),
}
"""By which names the kernel's crypto knows the algorithms of our profiles, with ESN and without."""
OFFLOADS = frozenset(
    {
        "rx-checksum",
        "rx-gro",
        "rx-gro-hw",
        "rx-hashing",
        "tx-checksum-ip-generic",
        "tx-checksum-ipv4",
        "tx-checksum-ipv6",
        "tx-generic-segmentation",
        "tx-tcp-segmentation",
        "tx-tcp6-segmentation",
        "tx-udp_tnl-csum-segmentation",
        "tx-udp_tnl-segmentation",
        "tx-udp-segmentation",
        "esp-hw-offload",
        "tx-esp-segmentation",
        "esp-tx-csum-hw-offload",
    }
)
"""Features of an interface that decide what a tunnel costs (linux net/ethtool/common.c)."""


def client_words(traffic: Traffic, server: str, seconds: float, rate_mbps: int) -> list[str]:
    """The command that sends for one run.

    Args:
        traffic: Not IDLE.
        server: Address of the other end.
        seconds: How long to send, whole ones at least 1.
        rate_mbps: For all streams together; 0: no limit.
    """
    words = ["iperf3", "-c", server, "-p", str(PORT), "-t", f"{seconds:.0f}", "-i", "0", "-J"]
    words += ["--connect-timeout", str(CONNECT_MS)]
    streams = STREAMS.get(traffic, 1)
    if traffic is Traffic.SMALL:
        words += ["-u", "-l", str(SMALL_BYTES)]
    else:
        words += ["-P", str(streams)]
    # Without a rate iperf3 sends UDP at 1 Mbit/s, and TCP without a limit.
    return [*words, "-b", str(rate_mbps * 1_000_000 // streams)]


def server_words(address: str) -> list[str]:
    """The command that receives, one run after the other."""
    return ["iperf3", "-s", "-B", address, "-p", str(PORT), "-i", "0"]


def read_iperf(text: str, traffic: Traffic) -> Carried:
    """Read what a client printed.

    Raises:
        EdgeError: It failed, or the answer is not one of iperf3 as we know it.
    """
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise EdgeError(f"iperf3 did not answer with JSON: {printable(text, 80)!r}") from None
    if isinstance(found, dict) and "error" in found:
        raise EdgeError(f"iperf3: {printable(str(found['error']), 200)}")
    if traffic is not Traffic.SMALL:
        arrived = number(found, "end", "sum_received", "bits_per_second")
        again = number(found, "end", "sum_sent", "retransmits")
        return Carried(mbps=arrived / 1e6, retransmits=int(again))
    sent = number(found, "end", "sum", "packets")
    lost = number(found, "end", "sum", "lost_packets")
    time_s = number(found, "end", "sum", "seconds")
    if sent <= 0 or lost > sent or time_s <= 0:
        raise EdgeError(f"iperf3 says that {lost:g} of {sent:g} packets were lost in {time_s:g} s")
    pps = (sent - lost) / time_s
    return Carried(mbps=pps * SMALL_BYTES * 8 / 1e6, pps=pps, lost=lost / sent)


def number(value: Any, *path: str) -> float:
    """Find a number in JSON that others have made.

    Raises:
        EdgeError: There is none, or none that is finite and 0 or more.
    """
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise EdgeError(f"there is no number at {'.'.join(path)}")
    if not math.isfinite(value) or value < 0:
        raise EdgeError(f"{value:g} at {'.'.join(path)} is out of range")
    return float(value)


def read_stat(text: str, at_s: float, ticks_per_s: int) -> Sample:
    """Read /proc/stat.

    Args:
        text: Of the file.
        at_s: When it was read.
        ticks_per_s: USER_HZ.

    Raises:
        EdgeError: Its first line is not what proc(5) says.
    """
    word, *times = text.partition("\n")[0].split()[:9] or [""]
    if word != "cpu" or len(times) != 8 or not all(one.isdecimal() for one in times):  # noqa: PLR2004
        raise EdgeError("/proc/stat does not begin with the times of all processors")
    user, nice, system, _, _, irq, softirq, stolen = (int(one) / ticks_per_s for one in times)
    return Sample(
        at_s=at_s,
        user_s=user + nice,
        system_s=system,
        softirq_s=irq + softirq,
        stolen_s=stolen,
    )


def read_cpuinfo(text: str) -> tuple[str, int]:
    """Read /proc/cpuinfo.

    Returns:
        The model, empty where the file names none, and how many processors there are, at least 1.
    """
    pairs = [tuple(map(str.strip, line.partition(":")[::2])) for line in text.splitlines()]
    model = next((value for key, value in pairs if key == "model name"), "")
    return printable(model, 100), max(1, sum(key == "processor" for key, _ in pairs))


def read_crypto(text: str) -> dict[str, str]:
    """Read /proc/crypto.

    Returns:
        The driver of each ESP algorithm that the kernel has put together so far: the one with the
        highest priority, which is what it takes.
    """
    best: dict[str, tuple[int, str]] = {}
    for entry in _entries(text):
        name, driver, priority = (entry.get(key, "") for key in ("name", "driver", "priority"))
        if priority.isdecimal() and int(priority) >= best.get(name, (-1, ""))[0]:
            best[name] = int(priority), printable(driver, 100)
    return {
        algorithm: drivers[0]
        for algorithm, names in ESP_ALGORITHMS.items()
        if (drivers := [best[name][1] for name in names if name in best])
    }


def _entries(text: str) -> Iterator[dict[str, str]]:
    for block in text.split("\n\n"):
        pairs = (line.partition(":")[::2] for line in block.splitlines())
        yield {key.strip(): value.strip() for key, value in pairs}


def known_offloads(features: Iterable[tuple[str, bool]]) -> tuple[str, ...]:
    """Those of the features of an interface that are on and matter, sorted."""
    return tuple(sorted(name for name, is_on in features if is_on and name in OFFLOADS))
