# SPDX-License-Identifier: Apache-2.0
"""Looks for secrets, in every spelling that a program might give them, where none must be."""

from __future__ import annotations

import base64
import contextlib
import re
from collections.abc import Iterable, Iterator
from itertools import combinations
from pathlib import Path

from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from ovn_ipsec.cli.__main__ import main
from ovn_ipsec.lab.cluster.chassis import CONTROLLER
from ovn_ipsec.lab.cluster.cluster import Cluster
from ovn_ipsec.lab.errors import LabError
from ovn_ipsec.model.chassis import ChassisName
from ovn_ipsec.pki.psk import psk_for_pair

_NO_QUESTION = (
    "exit",
    "credentials/renew",
    "refresh",
    "set-options",
    "vlog/reopen",
    "vlog/set",
)
_LINE_MIN = 32
_KEY = re.compile(r"-----BEGIN PRIVATE KEY-----.*?-----END PRIVATE KEY-----\n", re.DOTALL)


def needles(secrets: Iterable[str], chassis: Iterable[str]) -> dict[bytes, str]:
    """Spell secrets out.

    Args:
        secrets: Private keys in PEM; all others are secrets of the cluster.
        chassis: Whose pairs have a key of their own from each of the latter.

    Returns:
        What to look for, and what it is, without telling more.
    """
    names = [ChassisName(name) for name in chassis]
    found: dict[bytes, str] = {}
    for secret in secrets:
        if "PRIVATE KEY" in secret:
            found |= dict.fromkeys(_lines(secret), "a private key")
            for number in _numbers(secret):
                found |= dict.fromkeys(_spelled(number), "a private key")
            continue
        found |= dict.fromkeys(_spelled(secret.encode()), "a secret")
        for one, other in combinations(names, 2):
            key = psk_for_pair(secret.encode(), one, other)
            found |= dict.fromkeys(_spelled(key), f"the key of {one} and {other}")
    return found


def _lines(pem: str) -> Iterator[bytes]:
    """Yield the lines of a private key, but for those that hold nothing but of the public one."""
    public = load_pem_private_key(pem.encode(), None).public_key()
    known = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    for line in pem.splitlines():
        if line.startswith("-----") or len(line) < _LINE_MIN:
            continue
        if base64.b64decode(line + "=" * (-len(line) % 4)) not in known:
            yield line.encode()


def _numbers(pem: str) -> Iterator[bytes]:
    """Yield what is secret in a private key, as bytes."""
    key = load_pem_private_key(pem.encode(), None)
    yield key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    match key:
        case ec.EllipticCurvePrivateKey():
            size = (key.key_size + 7) // 8
            yield key.private_numbers().private_value.to_bytes(size, "big")
        case ed25519.Ed25519PrivateKey():
            yield key.private_bytes_raw()
        case rsa.RSAPrivateKey():
            numbers = key.private_numbers()
            for number in (numbers.p, numbers.q, numbers.d):
                yield number.to_bytes((number.bit_length() + 7) // 8, "big")


def _spelled(value: bytes) -> Iterator[bytes]:
    """Yield bytes as they are, in hexadecimal, in base 64 (no end that depends on what follows)."""
    yield value
    yield value.hex().encode()
    yield value.hex().upper().encode()
    yield base64.b64encode(value[: len(value) // 3 * 3])
    yield repr(value)[2:-1].encode()


def stored(cluster: Cluster) -> set[str]:
    """Return the private keys that are in files of the hosts and of the laboratory, in PEM."""
    folders = [cluster.folder / "pki"]
    for host in (cluster.central, *cluster.chassis.values()):
        folders += [host.path("/var/lib/ovn-ipsec"), host.path("/etc/ovn-ipsec")]
    paths = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    texts = [path.read_bytes().decode(errors="replace") for path in paths]
    return {block for text in texts for block in _KEY.findall(text)}


def matches(looked_for: dict[bytes, str], text: bytes) -> set[str]:
    """Tell what of it is in a text."""
    return {what for needle, what in looked_for.items() if needle in text}


def files(cluster: Cluster) -> Iterator[tuple[str, bytes]]:
    """Yield every log and database of all hosts, with its name."""
    for host in (cluster.central, *cluster.chassis.values()):
        for path in (*host.logs.rglob("*"), *host.folder.glob("*.db")):
            if path.is_file():
                yield str(path), path.read_bytes()


def processes() -> Iterator[tuple[str, bytes]]:
    """Yield arguments and environment of every process."""
    for folder in Path("/proc").glob("[0-9]*"):
        for name in ("cmdline", "environ"):
            with contextlib.suppress(OSError):
                yield str(folder / name), (folder / name).read_bytes()


def _bytes(text: str) -> bytes:
    return text.encode(errors="surrogateescape")


def answers(cluster: Cluster) -> Iterator[tuple[str, bytes]]:
    """Yield what every command of the daemons and every judging one of the CLI shows."""
    targets = [(one, CONTROLLER) for one in cluster.chassis.values()]
    for host, target in (*targets, (cluster.central, "ovn-ipsec-northd")):
        listed = host.appctl(target, "help").splitlines()[1:]
        for line in listed:
            command = line.split()[0]
            for words in ((), ("json",)):
                if command not in _NO_QUESTION:
                    with contextlib.suppress(LabError):
                        yield f"{target} {command}", _bytes(host.appctl(target, command, *words))
    run = cluster.central.path("/run/ovn")
    remotes = [f"--ovn{kind}-db=unix:{run}/ovn{kind}_db.sock" for kind in ("nb", "sb")]
    h1 = cluster.chassis["h1"].control_socket(CONTROLLER)
    here = ("--target", str(h1))
    for words in (
        ("status",),
        ("peers", *here),
        ("doctor", *here),
        ("explain", *here, "h1", "h3"),
        ("policy", "list"),
    ):
        for form in ((), ("--json",)):
            done = CliRunner().invoke(main, [*remotes, *form, *words])
            # doctor is not in the namespace of h1, so it may not be able to tell.
            assert done.exit_code in (0, 1) or words[0] == "doctor", done.output
            yield " ".join(words), _bytes(done.output)
