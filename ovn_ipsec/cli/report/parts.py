# SPDX-License-Identifier: Apache-2.0
"""Shell: the parts of a report, each on its own: what one lacks is named, and the rest goes on."""

from __future__ import annotations

import json
import os
import platform
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any, Generic, TypeAlias, TypeVar

from ... import __version__
from ...clock import utc_now
from ...errors import EdgeError, IPsecError
from ...model.text import printable_lines
from ...ovsdb.schemas import NORTHBOUND, SOUTHBOUND
from ...pki import files
from ...schema.open_vswitch import LocalChassis, parse_local
from ..database import connected, global_row
from ..doctor import find_checks
from ..gather import southbound
from ..judge import judge
from ..local import ask, ask_peers, own_rundir, own_socket
from ..machine import charon, nft, units, xfrm
from ..machine.programs import output_of
from ..settings import Settings
from ..status import as_json
from ..view import RawNorthbound, RawSouthbound
from .redaction import ours, without_bytes

PART_MAX, LOG_MAX = 1 << 24, 1 << 20
"""Bytes of a part, and of a log, of which the last ones are kept."""
FILE_LINES = 1000
"""Last lines of a log file."""
LOG_UNITS = (
    "ovn-ipsec-controller",
    "ovn-ipsec-guard",
    "ovn-ipsec-northd",
    "strongswan",
    "strongswan-starter",
    "ipsec",
)
SHOWN_UNITS = (*LOG_UNITS, "openvswitch-ipsec", "openvswitch-switch", "ovn-controller")
LOGS = Path("/var/log/ovn-ipsec")
STATISTICS = Path("/proc/thread-self/net/xfrm_stat")
LIBRARIES = (
    "click",
    "cryptography",
    "inotify-simple",
    "ovs",
    "ovsdbapp",
    "prometheus-client",
    "pyroute2",
    "vici",
)
VERSIONS = {
    "ovs-vswitchd": ("ovs-vswitchd", "--version"),
    "ovn-controller": ("ovn-controller", "--version"),
    "ovn-northd": ("ovn-northd", "--version"),
    "nft": ("nft", "--version"),
}
"""Not charon-systemd, which takes no flags: it would start."""
OPEN_VSWITCH = (
    *("system-id", "hostname", "ovn-remote", "ovn-bridge", "ovn-encap-type", "ovn-encap-ip"),
    *("ovn-encap-tos", "ovn-encap-df_default", "ovn-remote-probe-interval", "ovn-monitor-all"),
    *("certificate", "private_key", "ca_cert", "ovn-enable-flow-based-tunnels"),
)
"""Keys of others that matter here; those of files are paths."""
OF_A_CHASSIS = ("ovn-encap-", "ovn-remote-")
"""How keys begin that may be for one of several chassis here, by a name at their end."""
NB_GLOBAL = ("ipsec_encapsulation", "ipsec_forceencaps", "northd_probe_interval")


T = TypeVar("T")
Local: TypeAlias = tuple[dict[str, str], dict[str, str], Settings]
"""external_ids and other_config of Open_vSwitch, and the flags with what its SSL row adds."""


class Once(Generic[T]):
    """A question that is asked once: its answer, or its failure, stays."""

    def __init__(self, ask_it: Callable[[], T]) -> None:
        """Store what asks."""
        self._ask = ask_it
        self._found: list[T] = []
        self._failed: IPsecError | OSError | None = None

    def __call__(self) -> T:
        """Give the answer.

        Raises:
            IPsecError, OSError: There is none.
        """
        if self._failed is not None:
            raise self._failed
        if not self._found:
            try:
                self._found.append(self._ask())
            except (IPsecError, OSError) as error:
                self._failed = error
                raise
        return self._found[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A member of the archive, and how it is made."""

    name: str
    make: Callable[[], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where things of this host are; None: where they usually are."""

    target: str | None
    ovs_db: str | None
    vici: str | None
    state_dir: Path


class Asked:
    """What several parts are made of: asked once, when it is needed, also where that fails."""

    def __init__(self, settings: Settings, places: Places) -> None:
        """Store where to ask."""
        self.settings, self.places = settings, places
        self.local = Once(self._local)
        self.southbound = Once(self._southbound)
        self.northbound = Once(self._northbound)
        self.charon = Once(lambda: charon.ike_sas(self.daemon))

    def _local(self) -> Local:
        from ..doctor.host import read_local  # noqa: PLC0415 - --help stays quick

        rundir = Path(self.places.target).parent if self.places.target else own_rundir()
        return read_local(self.settings, self.places.ovs_db or f"unix:{rundir}/db.sock")

    def _southbound(self) -> RawSouthbound:
        """That of this chassis; of a central host, the one that the flags name."""
        here = self.here
        settings, remote = self.settings, self.settings.ovnsb_db
        if here is not None and here.remote:
            settings, remote = self.local()[2], here.remote
        with connected(settings, remote, SOUTHBOUND) as sb:
            return southbound(sb)

    def _northbound(self) -> RawNorthbound:
        with connected(self.settings, self.settings.ovnnb_db, NORTHBOUND) as nb:
            row = global_row(nb)
            switches = [(s.name, dict(s.other_config)) for s in nb.rows("Logical_Switch")]
            return RawNorthbound(
                ipsec=row.ipsec,
                options=dict(row.options),
                external_ids=dict(row.external_ids),
                switches=tuple(switches),
            )

    @property
    def here(self) -> LocalChassis | None:
        """What the local database says of this chassis; None where it cannot be read."""
        with suppress(IPsecError, OSError):
            external_ids, other_config, _ = self.local()
            return parse_local(external_ids, other_config, None)
        return None

    @property
    def daemon(self) -> str:
        """Where charon is asked."""
        here = self.here
        return self.places.vici or (here.vici if here is not None else None) or charon.DEFAULT

    @property
    def socket(self) -> str:
        """Of the controller.

        Raises:
            EdgeError: None runs.
        """
        return self.places.target or own_socket()


def parts(asked: Asked) -> Iterator[Part]:
    """List the parts of a report; nothing is looked at before one is made."""
    yield Part(name="versions.json", make=partial(_versions, asked))
    yield Part(name="doctor.json", make=partial(_doctor, asked))
    yield Part(name="status.json", make=partial(_status, asked))
    for name, words in (("status", ("status", "json")), ("guard", ("guard/show",))):
        yield Part(name=f"controller/{name}.json", make=partial(_told, asked, *words))
    yield Part(name="controller/peers.json", make=lambda: _json(ask_peers(asked.socket)))
    yield Part(name="rows/open_vswitch.json", make=partial(_open_vswitch, asked))
    yield Part(name="rows/southbound.json", make=partial(_southbound, asked))
    yield Part(name="rows/northbound.json", make=partial(_northbound, asked))
    yield Part(
        name="kernel/xfrm-policies.txt", make=lambda: _lines(p.line() for p in xfrm.policies())
    )
    yield Part(name="kernel/xfrm-states.txt", make=lambda: _lines(xfrm.states()))
    yield Part(name="kernel/xfrm-statistics.txt", make=lambda: STATISTICS.read_text("ascii"))
    yield Part(name="kernel/nftables.txt", make=nft.listing)
    yield Part(name="ike/connections.json", make=lambda: _json(asked.charon()[0]))
    yield Part(name="ike/sas.json", make=lambda: _json(asked.charon()[1]))
    yield Part(name="units.json", make=_units)
    for unit in LOG_UNITS:
        yield Part(name=f"log/{unit}.txt", make=partial(_journal, unit))
    for path in sorted(LOGS.glob("*.log")) if LOGS.is_dir() else ():
        yield Part(name=f"log/files/{path.name}", make=partial(_log_file, path))


def secrets_of(here: LocalChassis | None) -> list[bytes]:
    """Read the secrets of this host that are known, only to see that no part holds one.

    A file that cannot be read is none: what we cannot read is not in what we have read.
    """
    found: list[bytes] = []
    if here is None:
        return found
    if here.psk_file:
        with suppress(IPsecError, ValueError):
            found += files.read(Path(here.psk_file), limit=files.SECRET_MAX).splitlines()
    if here.files is not None and here.files.private_key:
        with suppress(IPsecError, ValueError):
            found += files.read(Path(here.files.private_key), limit=LOG_MAX).splitlines()[1:-1]
    return found


def _versions(asked: Asked) -> str:
    found: dict[str, Any] = {"ovn-ipsec": __version__, "python": platform.python_version()}
    for name in LIBRARIES:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    kernel = os.uname()
    found["kernel"] = f"{kernel.sysname} {kernel.release} {kernel.version} {kernel.machine}"
    with suppress(OSError):
        found["system"] = platform.freedesktop_os_release().get("PRETTY_NAME", "")
    for name, argv in VERSIONS.items():
        try:
            found[name] = printable_lines(output_of(*argv)).strip().partition("\n")[0]
        except EdgeError as error:
            found[name] = f"unknown: {error.diagnostics()}"
    try:
        daemon = charon.look(asked.daemon)
        found["vici"] = asdict(replace(daemon, plugins=frozenset()))
        found["vici"]["plugins"] = sorted(daemon.plugins)
    except IPsecError as error:
        found["vici"] = f"unknown: {error.diagnostics()}"
    return _json(found)


def _doctor(asked: Asked) -> str:
    where = asked.places
    sockets = (where.target, where.ovs_db)
    checks = find_checks(asked.settings, sockets, where.vici, where.state_dir)
    return _json([asdict(check) for check in checks])


def _status(asked: Asked) -> str:
    nb = asked.northbound()
    return _json(as_json(judge(nb.external_ids, nb.ipsec, asked.southbound(), utc_now())))


def _told(asked: Asked, *words: str) -> str:
    return _json(ask(asked.socket, *words))


def _open_vswitch(asked: Asked) -> str:
    external_ids, other_config, _ = asked.local()
    names = [*OPEN_VSWITCH, *(key for key in external_ids if key.startswith(OF_A_CHASSIS))]
    return _json(
        {"external_ids": ours(external_ids, names), "other_config": ours(other_config, names)}
    )


def _southbound(asked: Asked) -> str:
    raw = asked.southbound()
    return _json(
        {
            "SB_Global": ours(raw.external_ids),
            "Chassis": [
                {
                    "name": chassis.name,
                    "hostname": chassis.hostname,
                    "transport_zones": sorted(chassis.transport_zones),
                    "other_config": ours(chassis.other_config, ("is-remote", "is-interconn")),
                    "encaps": [
                        {"type": e.type, "ip": e.ip, "options": ours(e.options, ("dst_port",))}
                        for e in chassis.encaps
                    ],
                }
                for chassis in sorted(raw.chassis, key=lambda one: one.name)
            ],
            "Chassis_Private": {name: ours(ids) for name, ids in sorted(raw.privates.items())},
        }
    )


def _northbound(asked: Asked) -> str:
    raw = asked.northbound()
    switches = {name: found for name, config in raw.switches if (found := ours(config))}
    row = {
        "ipsec": raw.ipsec,
        "options": ours(raw.options, NB_GLOBAL),
        "external_ids": ours(raw.external_ids),
    }
    return _json({"NB_Global": row, "Logical_Switch": switches})


def _units() -> str:
    _require_systemd()
    return _json([asdict(unit) for unit in units.units(SHOWN_UNITS).values()])


def _journal(unit: str) -> str:
    _require_systemd()
    return without_bytes(printable_lines(units.last_lines(unit)))[-LOG_MAX:]


def _log_file(path: Path) -> str:
    with path.open(encoding="utf-8", errors="replace") as file:
        text = "".join(deque(file, FILE_LINES))
    return without_bytes(printable_lines(text))[-LOG_MAX:]


def _require_systemd() -> None:
    if not units.has_systemd():
        raise EdgeError("not applicable: systemd does not run here")


def _lines(lines: Any) -> str:
    return "".join(f"{line}\n" for line in lines)


def _json(value: object) -> str:
    return json.dumps(value, indent=1) + "\n"
