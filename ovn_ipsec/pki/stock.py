# SPDX-License-Identifier: Apache-2.0
"""Shell: the files and the command that a chassis with the stock ovs-monitor-ipsec needs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import rsa

from . import files
from .errors import PkiError
from .folder import CaFolder
from .index import Entry, Index, Origin
from .keys import key_id, read_private
from .profile import certificate_pem
from .values import COMMON_NAME_MAX, checked_name

FILES = {
    "certificate": "ovn-ipsec-cert.pem",
    "private_key": "ovn-ipsec-key.pem",
    "ca_cert": "ovn-ipsec-ca.pem",
}
"""Keys in Open_vSwitch.other_config (ovs-vswitchd.conf.db(5)), and the files for them."""
TWO_AUTHORITIES = (
    "a rollover is under way, and a stock chassis reads only the first certificate in ca_cert: "
    "give it the second one by hand, or migrate it first"
)
NOT_RSA = (
    "with strongSwan the stock program only uses RSA keys: "
    "ovn-ipsec pki renew --key-type rsa-3072 {chassis}"
)
OWN_KEY = "the chassis made its own key: put it where private_key says"
_PLAIN_PATH = re.compile(r"(/[A-Za-z0-9._-]+)+\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """What to do for a stock chassis."""

    written: tuple[Path, ...]
    command: str
    """To be run on the chassis."""
    remarks: tuple[str, ...]
    """What may stand in the way there."""


def export(folder: CaFolder, chassis: str, out: Path, target: str, now: datetime) -> Export:
    """Write the files for a stock chassis.

    Args:
        folder: The authority.
        chassis: Its name, the one that OVN knows it by.
        out: A folder to write into.
        target: The folder that the files will be in on the chassis, an absolute path.
        now: Wall time, aware.

    Raises:
        PkiError: It has no valid certificate, its key is not here, or the name or the path will
            not do for the stock program.
    """
    name = checked_name(chassis)
    if not _PLAIN_PATH.match(target):
        raise PkiError(repr(target[:80]), "expected an absolute path of A-Z a-z 0-9 . _ - and /")
    if len(name) > COMMON_NAME_MAX:
        what = f"the stock program wants the name as CN, which takes {COMMON_NAME_MAX} characters"
        raise PkiError(name, what)
    index = folder.read()
    entry = folder.live(index, name, now)
    if entry is None:
        step = f"ovn-ipsec pki issue {name}; or, if it has expired: ovn-ipsec pki renew {name}"
        raise PkiError(name, "has no valid certificate", next_step=step)
    key = None if entry.origin is Origin.SIGN else _key(folder, entry)
    return Export(
        written=_write(folder, index, entry, key, out),
        command=_command(target),
        remarks=_remarks(folder, index, entry),
    )


def _key(folder: CaFolder, entry: Entry) -> bytes:
    path = folder.issued_path(entry.chassis) / "key.pem"
    pem = files.read(path, private=True)
    if key_id(read_private(str(path), pem).public_key()) != entry.key_id:
        step = f"ovn-ipsec pki renew {entry.chassis}"
        raise PkiError(str(path), "not the key of the newest certificate", next_step=step)
    return pem


def _write(
    folder: CaFolder, index: Index, entry: Entry, key: bytes | None, out: Path
) -> tuple[Path, ...]:
    with files.telling(out, "make this folder"):
        out.mkdir(mode=files.FOLDER, exist_ok=True)
    certificate = certificate_pem(folder.certificate(entry)).encode("ascii")
    paths = {key: out / name for key, name in FILES.items()}
    written = [paths["certificate"], paths["ca_cert"]]
    if key is not None:
        files.write(paths["private_key"], key, files.PRIVATE)
        written.insert(1, paths["private_key"])
    files.write(paths["certificate"], certificate)
    files.write(paths["ca_cert"], folder.bundle(index).encode("ascii"))
    return tuple(written)


def _command(target: str) -> str:
    settings = [f"other_config:{key}={target}/{name}" for key, name in FILES.items()]
    return " \\\n    ".join(["ovs-vsctl set Open_vSwitch .", *settings])


def _remarks(folder: CaFolder, index: Index, entry: Entry) -> tuple[str, ...]:
    is_rsa = isinstance(folder.certificate(entry).public_key(), rsa.RSAPublicKey)
    remarks = {
        TWO_AUTHORITIES: len(index.trusted) > 1,
        NOT_RSA.format(chassis=entry.chassis): not is_rsa,
        OWN_KEY: entry.origin is Origin.SIGN,
    }
    return tuple(remark for remark, applies in remarks.items() if applies)
