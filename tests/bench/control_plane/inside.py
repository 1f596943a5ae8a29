# SPDX-License-Identifier: Apache-2.0
"""One measurement, inside namespaces of its own; it prints JSON.

``inside.py floor|ours|stock N [SCRIPT]``: SCRIPT is the ovs-monitor-ipsec to measure.
"""

from __future__ import annotations

import json
import os
import resource
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import lab

from ovn_ipsec.model.policy import Auth, ClusterPolicy, Mode, Phase, Tuning
from ovn_ipsec.schema import sb_global

VICI = lab.FOLDER / "vici.sock"
SCHEMAS = {
    "vswitch": "/usr/share/openvswitch/vswitch.ovsschema",
    "sb": "/usr/share/ovn/ovn-sb.ovsschema",
}
SCRIPT = "/usr/share/openvswitch/scripts/ovs-monitor-ipsec"
ROOT = Path(__file__).parents[3]
PLUGINS = (
    "aes sha1 sha2 random nonce x509 revocation constraints pubkey pkcs1 pkcs8 pem openssl hmac "
    "kdf gcm drbg kernel-netlink socket-default vici counters"
)

Result = dict[str, Any]
ENFORCED = ClusterPolicy(
    generation=1,
    phase=Phase.ENFORCE,
    default=Mode.REQUIRE,
    floor=Mode.REQUIRE,
    auth=(Auth.CA,),
    tuning=Tuning(),
)
"""Every pair is encrypted."""


def start_charon(socket: Path = VICI, more: str = "", before: tuple[str, ...] = ()) -> int:
    """Start charon-systemd with only what a controller over vici needs.

    Args:
        socket: Where it listens for vici.
        more: Further settings.
        before: What its command line begins with.
    """
    config = socket.with_suffix(".conf")
    config.write_text(
        "charon-systemd {\n"
        " install_routes = no\n threads = 16\n ikesa_table_size = 1024\n"
        " ikesa_table_segments = 16\n make_before_break = yes\n"
        f" load = {PLUGINS}\n {more}"
        f" plugins {{ vici {{ socket = unix://{socket} }} }}\n"
        " journal { default = 0 }\n}\n"
    )
    env = {"STRONGSWAN_CONF": str(config)}
    charon = lab.start(*before, "/usr/sbin/charon-systemd", env=env, log=f"charon-{socket.stem}")
    lab.wait(socket.exists, 20)
    return charon.pid


def loaded(policies: int) -> Callable[[], bool]:
    before = lab.inbound_policies()
    return lambda: lab.inbound_policies() - before >= policies


def result(meter: lab.Meter, initial: lab.Cost, added: lab.Cost) -> Result:
    agent = meter.agent or os.getpid()
    return {
        "start_cpu_s": None,
        "idle_percent": None if meter.agent is None else meter.idle(),
        "initial": asdict(initial),
        "added": asdict(added),
        "agent_rss_mb": lab.rss_mb(agent),
        "ike_rss_mb": lab.rss_mb(meter.ike),
    }


# The floor: a client that does nothing but load the same things over vici.


def floor(count: int) -> Result:
    import vici  # noqa: PLC0415 - only here is it the thing that is measured

    files = lab.credentials()
    ike = start_charon()
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(str(VICI))
    session = vici.Session(sock)
    cert, ca = Path(files["cert"]).read_bytes(), Path(files["ca"]).read_bytes()
    session.load_key({"type": "rsa", "data": Path(files["key"]).read_bytes()})

    def load(index: int) -> None:
        name, reqid = f"ovn-{lab.peer_name(index)}", 100000 + 2 * index
        session.load_conn({name: connection(index, reqid, cert, ca)})
        for child in ("in", "out"):
            session.install({"child": child, "ike": name})

    def load_all() -> None:
        for index in range(count):
            load(index)

    meter = lab.Meter(None, ike)
    initial = meter.cost(load_all, loaded(2 * count))
    added = meter.cost(lambda: load(count), loaded(2))
    return result(meter, initial, added)


def connection(index: int, reqid: int, cert: bytes, ca: bytes) -> dict[str, Any]:
    own, peer = lab.LOCAL_IP, lab.peer_ip(index)
    child = {
        "mode": "transport",
        "start_action": "none",
        "dpd_action": "clear",
        "close_action": "none",
        "esp_proposals": ["aes256gcm16-modp2048-esn-noesn", "aes256gcm16-esn-noesn"],
        "rekey_time": "3600",
        "replay_window": "1024",
    }
    inward = {"local_ts": [f"{own}/32[17/6081]"], "remote_ts": [f"{peer}/32[17]"]}
    outward = {"local_ts": [f"{own}/32[17]"], "remote_ts": [f"{peer}/32[17/6081]"]}
    return {
        "version": "2",
        "local_addrs": [own],
        "remote_addrs": [peer],
        "proposals": ["aes256gcm16-prfsha256-modp2048"],
        "encap": "no",
        "mobike": "no",
        "unique": "never",
        "keyingtries": "0",
        "dpd_delay": "30",
        "rekey_time": "14400",
        "local": {"auth": "pubkey", "id": f"fqdn:{lab.LOCAL}", "certs": [cert]},
        "remote": {"auth": "pubkey", "id": f"fqdn:{lab.peer_name(index)}", "cacerts": [ca]},
        "children": {
            "in": {**child, **inward, "reqid": str(reqid)},
            "out": {**child, **outward, "reqid": str(reqid + 1)},
        },
    }


# Ours: the controller, told by a southbound and by a local database.


def ours(count: int) -> Result:
    # Its modules are compiled beforehand, as by an installation.
    compiled = {
        "PYTHONPATH": str(ROOT),
        "PYTHONDONTWRITEBYTECODE": "",
        "PYTHONPYCACHEPREFIX": str(ROOT / "build" / "pycache"),
    }
    controller = (sys.executable, "-m", "controller")
    for _ in range(2):
        begin = _children_cpu_s()
        subprocess.run(
            [*controller, "--help"],
            env={**os.environ, **compiled},
            check=True,
            stdout=subprocess.DEVNULL,
        )
        start_cpu_s = _children_cpu_s() - begin
    files = lab.credentials()
    ike = start_charon()
    database = lab.Database(SCHEMAS.values())
    words = lab.ovs_map(sb_global.format_policy(ENFORCED))
    rows = [lab.insert("SB_Global", {"ipsec": True, "external_ids": words})]
    rows += chassis_rows(lab.LOCAL, lab.LOCAL_IP, "local", own=True)
    for index in range(count):
        rows += chassis_rows(lab.peer_name(index), lab.peer_ip(index), f"n{index}")
    database.transact("OVN_Southbound", rows)
    settings = {
        "system-id": lab.LOCAL,
        "ovn-remote": f"unix:{lab.DATABASE}",
        "ovn-encap-ip": lab.LOCAL_IP,
        "ovn-encap-type": "geneve",
    }
    database.transact("Open_vSwitch", [open_vswitch_row(files, settings, [])])
    meter = lab.Meter(None, ike)

    def start() -> None:
        meter.agent = lab.start(
            *(*controller, f"unix:{lab.DATABASE}"),
            *("--vici", f"unix://{VICI}", "--unixctl", f"{lab.FOLDER}/controller.ctl"),
            *("--pidfile", f"{lab.FOLDER}/controller.pid", "--state-dir", f"{lab.FOLDER}/state"),
            *("--log-file", f"{lab.FOLDER}/controller.log"),
            env=compiled,
            log="controller-stderr",
        ).pid

    import vici  # noqa: PLC0415

    sock = socket.socket(socket.AF_UNIX)
    sock.connect(str(VICI))
    session = vici.Session(sock)

    def holds(number: int) -> Callable[[], bool]:
        # The controller sets no trap before there is an SA: until then its guard holds the pair.
        return lambda: len(session.get_conns()["conns"]) >= number

    initial = meter.cost(start, holds(count), fresh=True)
    new = chassis_rows(lab.peer_name(count), lab.peer_ip(count), "new")

    def join() -> None:
        database.transact("OVN_Southbound", new)

    added = meter.cost(join, holds(count + 1))
    return {**result(meter, initial, added), "start_cpu_s": start_cpu_s}


def _children_cpu_s() -> float:
    """CPU seconds of children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def chassis_rows(name: str, ip: str, key: str, *, own: bool = False) -> list[dict[str, Any]]:
    chassis = {"name": name, "hostname": name, "encaps": ["named-uuid", f"e{key}"]}
    options = lab.ovs_map({"csum": "true", "ovn-ipsec": "require"})
    encap = {"type": "geneve", "ip": ip, "chassis_name": name, "options": options}
    digest = {
        "ovn-ipsec-generation": "1",
        "ovn-ipsec-phase": "enforce",
        "ovn-ipsec-pairs": "encrypted=1",
        "ovn-ipsec-agent": "bench",
    }
    ids = {} if own else digest
    private = {
        "name": name,
        "chassis": ["named-uuid", f"c{key}"],
        "external_ids": lab.ovs_map(ids),
    }
    return [
        lab.insert("Encap", encap, f"e{key}"),
        lab.insert("Chassis", chassis, f"c{key}"),
        lab.insert("Chassis_Private", private, f"p{key}"),
    ]


def open_vswitch_row(
    files: dict[str, str], external_ids: dict[str, str], bridges: list[Any]
) -> dict[str, Any]:
    paths = {"certificate": files["cert"], "private_key": files["key"], "ca_cert": files["ca"]}
    row = {
        "external_ids": lab.ovs_map(external_ids),
        "other_config": lab.ovs_map(paths),
        "bridges": ["set", bridges],
    }
    return lab.insert("Open_vSwitch", row)


# Stock: ovs-monitor-ipsec over stroke, told by the tunnels in the local database.


def stock(count: int, script: str = SCRIPT) -> Result:
    files = lab.credentials()
    database = lab.Database([SCHEMAS["vswitch"]])
    lab.start("/usr/sbin/ipsec", "start", "--nofork", log="starter")
    pidfile = Path("/run/charon.pid")
    lab.wait(lambda: pidfile.exists() and Path("/run/charon.ctl").exists(), 20)
    ike = int(pidfile.read_text())
    rows, ports = [], []
    for index in range(count):
        rows += port_rows(index)
        ports.append(["named-uuid", f"p{index}"])
    rows.append(lab.insert("Bridge", {"name": "br-int", "ports": ["set", ports]}, "br"))
    rows.append(open_vswitch_row(files, {}, [["named-uuid", "br"]]))
    database.transact("Open_vSwitch", rows)
    log = lab.FOLDER / "ovs-monitor-ipsec.log"

    def down() -> int:
        # One `ipsec stroke down-nb` follows each of these lines.
        return log.read_text().count(" is outdated ") if log.exists() else 0

    meter = lab.Meter(None, ike, down)

    def start() -> None:
        meter.agent = lab.start(
            *("/usr/bin/python3", script),
            *("--pidfile", "--ike-daemon=strongswan", "--no-restart-ike-daemon"),
            *("--log-file=/run/bench/ovs-monitor-ipsec.log", f"unix:{lab.DATABASE}"),
            log="ovs-monitor-ipsec-stderr",
        ).pid

    initial = meter.cost(start, loaded(2 * count), fresh=True)

    def add() -> None:
        port = ["set", [["named-uuid", f"p{count}"]]]
        change = {
            "op": "mutate",
            "table": "Bridge",
            "where": [["name", "==", "br-int"]],
            "mutations": [["ports", "insert", port]],
        }
        database.transact("Open_vSwitch", [*port_rows(count), change])

    added = meter.cost(add, loaded(2))
    return result(meter, initial, added)


def port_rows(index: int) -> list[dict[str, Any]]:
    name = f"ovn-{lab.peer_name(index)[-6:]}-0"
    options = {"remote_ip": lab.peer_ip(index), "remote_name": lab.peer_name(index)}
    options |= {"key": "flow", "csum": "true"}
    interface = {"name": name, "type": "geneve", "options": lab.ovs_map(options)}
    port = {"name": name, "interfaces": ["named-uuid", f"i{index}"]}
    return [
        lab.insert("Interface", interface, f"i{index}"),
        lab.insert("Port", port, f"p{index}"),
    ]


def main() -> None:
    system, count = sys.argv[1], int(sys.argv[2])
    lab.prepare(system)
    measures: dict[str, Callable[..., Result]] = {"floor": floor, "ours": ours, "stock": stock}
    measure = measures[system]
    try:
        print(json.dumps(measure(count, *sys.argv[3:])))
    except Exception:
        for log in sorted(lab.FOLDER.glob("*.log")):
            lines = log.read_text(errors="replace").splitlines()[:25]
            print(*(f"{log.name}: {line}" for line in lines), sep="\n", file=sys.stderr)
        raise


if __name__ == "__main__":
    main()
