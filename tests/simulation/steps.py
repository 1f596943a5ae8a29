# SPDX-License-Identifier: Apache-2.0
"""What can happen to a simulated cluster: what an operator does, and what goes wrong.

Each is a function of the world, a host and a number; its name is what a schedule says. `HITLESS`
are those after which the docs promise that no packet is lost.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from controller.plan.guard import ClearFlow, Direction, GuardState
from ovn_ipsec.model.policy import Mode
from tests.fakes.ovsdb import FakeDatabase, Op, Refused

from . import releases
from .host import BOOT_S
from .intent import Rule
from .releases import Release

if TYPE_CHECKING:
    from .host import Host
    from .world import World

Act = Callable[["World", "Host", int], None]
ACTS: dict[str, Act] = {}
HITLESS: set[str] = set()
FAULTS: set[str] = set()
HOSTS_MAX = 4
ROLL_S = 25.0
"""Between the steps of a rollover."""


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that happens."""

    gap: float
    """Seconds since the one before."""
    what: str
    who: int = 0
    """Which host, counted round."""
    number: int = 0

    def __str__(self) -> str:
        return f'Step({self.gap:g}, "{self.what}", {self.who}, {self.number})'


def do(world: World, step: Step) -> None:
    """Let one thing happen."""
    hosts = [world.hosts[name] for name in sorted(world.hosts)]
    ACTS[step.what](world, hosts[step.who % len(hosts)], step.number)


def hitless(act: Act) -> Act:
    """Register what loses no packet."""
    HITLESS.add(act.__name__)
    return harsh(act)


def harsh(act: Act) -> Act:
    """Register what an operator does that may lose some."""
    ACTS[act.__name__] = act
    return act


def fault(act: Act) -> Act:
    """Register what goes wrong."""
    FAULTS.add(act.__name__)
    return harsh(act)


# --- the operator ------------------------------------------------------------------------------


def state_intent(world: World) -> None:
    """Write into NB what the operator wants, as one change."""
    nb = world.central.nb
    row = next(iter(nb.tables["NB_Global"]), None)
    if not nb.up or row is None:
        return
    held = nb.tables["NB_Global"][row]["options"]
    kept = {k: t for k, t in held.items() if not k.startswith("ovn-ipsec-")}
    said = {f"ovn-ipsec-{key}": text for key, text in world.intent.keys().items()}
    nb.update("NB_Global", row, ipsec=world.intent.enabled, options={**kept, **said})
    world.watch.decided()


@hitless
def on(world: World, _host: Host, _number: int) -> None:
    """Switch on."""
    world.intent.enabled = True
    state_intent(world)


@hitless
def off(world: World, _host: Host, _number: int) -> None:
    """Switch off."""
    world.intent.enabled = False
    state_intent(world)


@hitless
def mode(world: World, _host: Host, number: int) -> None:
    """Set the default mode."""
    world.intent.default = (Mode.REQUIRE, Mode.PREFER)[number % 2]
    state_intent(world)


@hitless
def rule(world: World, host: Host, number: int) -> None:
    """Add a rule, or change one."""
    hosts = [world.hosts[name] for name in sorted(world.hosts)]
    other = hosts[(number // 4) % len(hosts)]
    ends = (host.chassis, "*" if other is host else other.chassis)
    modes = (Mode.OFF, Mode.REQUIRE, Mode.PREFER, Mode.REQUIRE)
    profile = "cnsa" if number % 4 == 3 else ""
    world.intent.rules[100 + number % 3] = Rule(*ends, modes[number % 4], profile)
    state_intent(world)


@hitless
def no_rule(world: World, _host: Host, number: int) -> None:
    """Take a rule away."""
    rules = world.intent.rules
    if rules:
        del rules[sorted(rules)[number % len(rules)]]
    state_intent(world)


@hitless
def profile(world: World, _host: Host, number: int) -> None:
    """Set the profile."""
    world.intent.options["profile"] = ("default", "cnsa", "chacha20", "aes256-sha256")[number % 4]
    state_intent(world)


@hitless
def auth(world: World, _host: Host, number: int) -> None:
    """Set how chassis authenticate."""
    world.intent.options["auth"] = ("psk", "ca")[number % 2]
    state_intent(world)


@hitless
def rollout(world: World, _host: Host, number: int) -> None:
    """Set whether to wait for pairs."""
    world.intent.options["rollout"] = ("gated", "immediate")[number % 2]
    state_intent(world)


@hitless
def junk_rule(world: World, _host: Host, number: int) -> None:
    """Write a rule that does not parse, and take it back a little later."""
    world.central.set_option("rule-7", ("any any perhaps", "\x1b[2J", "any")[number % 3])
    world.timeline.after(7.0, lambda: world.central.set_option("rule-7", None))


@hitless
def renew(_world: World, host: Host, _number: int) -> None:
    """Give a chassis another certificate and key."""
    host.stock.renew()


@hitless
def roll_secret(world: World, _host: Host, number: int) -> None:
    """Roll the secret of the cluster over: load-new, sign-new, drop-old."""
    old = next(iter(world.hosts.values())).stock.secrets[0]
    new = f"a secret of the cluster, {number} after {old[-4:]}"
    if len(next(iter(world.hosts.values())).stock.secrets) > 1:
        return
    for index, secrets in enumerate(((old, new), (new, old), (new,))):
        world.timeline.after(ROLL_S * index, lambda s=secrets: _put_all(world, secrets=s))


@hitless
def roll_authority(world: World, _host: Host, number: int) -> None:
    """Roll the authority over: trust-both, re-issue, drop-old."""
    stock = next(iter(world.hosts.values())).stock
    old, new = stock.authority, f"ca{number}-{len(stock.authority)}"
    if len(stock.trusted) > 1 or old == new:
        return
    steps = (
        {"trusted": (old, new)},
        {"authority": new},
        {"trusted": (new,)},
    )
    for index, files in enumerate(steps):
        world.timeline.after(ROLL_S * index, lambda f=files: _put_all(world, **f))


def _put_all(world: World, **files: object) -> None:
    for host in world.hosts.values():
        host.stock.put(**files)  # type: ignore[arg-type]


@hitless
def bad_files(world: World, host: Host, _number: int) -> None:
    """Let credential files hold junk for a while: the old ones stay in use."""
    host.stock.put(broken=True)
    world.timeline.after(20.0, host.stock.put)


@hitless
def upgrade(_world: World, host: Host, _number: int) -> None:
    """Restart the controller, as an upgrade does."""
    assert host.controller is not None
    host.controller.kill()


@hitless
def upgrade_northd(world: World, _host: Host, number: int) -> None:
    """Restart one northd; another takes over."""
    world.northds[number % len(world.northds)].kill()


@hitless
def other_release(_world: World, host: Host, number: int) -> None:
    """Run another release of the controller on a host: an older one, a newer one, this one."""
    _run_release(host.name, number)
    assert host.controller is not None
    host.controller.kill()


@hitless
def other_northd(world: World, _host: Host, number: int) -> None:
    """Run another release of one northd; the other one takes over meanwhile."""
    process = world.northds[number % len(world.northds)]
    _run_release(process.name, number)
    process.kill()


def _run_release(program: str, number: int) -> None:
    release = (Release.OLDER, Release.NEWER, None)[number % 3]
    releases.of_program.pop(program, None)
    if release is not None:
        releases.of_program[program] = release


@hitless
def keep_ovn(_world: World, host: Host, _number: int) -> None:
    """Restart ovn-controller with --restart: its rows stay."""
    host.restart_ovn(2.0, restart=True)


@hitless
def rewrite(_world: World, host: Host, _number: int) -> None:
    """Let ovn-controller write its encaps anew: our keys in them are lost."""
    host.rewrite_encaps()


@hitless
def kill_charon(world: World, host: Host, number: int) -> None:
    """Kill the IKE daemon and start it again: the kernel carries on."""
    if host.charon.running:
        host.charon.kill()
        world.timeline.after(1.0 + number % 5, host.start_charon)


@hitless
def restart_nb(world: World, _host: Host, number: int) -> None:
    """Restart the northbound server."""
    _restart(world, "nb", 1.0 + number % 20)


@hitless
def restart_sb(world: World, _host: Host, number: int) -> None:
    """Restart the southbound server."""
    _restart(world, "sb", 1.0 + number % 20)


def _restart(world: World, name: str, away_s: float) -> None:
    database = getattr(world.central, name)
    database.stop()
    world.timeline.after(away_s, database.start)


@hitless
def wall_jump(_world: World, host: Host, number: int) -> None:
    """Set the wall clock of a host."""
    host.clock.wall_offset_s += (3600.0, -3600.0, 40 * 86400.0, -40 * 86400.0)[number % 4]


@harsh
def join(world: World, _host: Host, _number: int) -> None:
    """Add a host."""
    if len(world.hosts) < HOSTS_MAX:
        taken = {int(name[2:]) for name in world.hosts}
        world.join(next(n for n in range(1, 100) if n not in taken and n not in world.left))


@harsh
def leave(world: World, host: Host, _number: int) -> None:
    """Take a host away."""
    if len(world.hosts) > 2:
        world.leave(host)


@harsh
def rename(world: World, host: Host, number: int) -> None:
    """Give a chassis another name."""
    host.rename(f"{host.name}-{number % 3}")
    world.watch.decided()


@harsh
def reboot(world: World, host: Host, _number: int) -> None:
    """Reboot a host."""
    if host.up:
        world.watch.rebooted(host)
        host.reboot()


@harsh
def move_port(world: World, _host: Host, number: int) -> None:
    """Let all tunnels run to another port (ovn-sbctl set encap options:dst_port).

    ovn-controller follows within a second.
    """
    port = 7000 + number % 3
    sb = world.central.sb
    # The guard learns of a port from a row; one that moves while nobody reads rows is not known.
    names = {row["name"] for row in sb.tables["Chassis"].values()}
    enforced = world.central.state().startswith("enforced")
    if (
        not enforced
        or not sb.up
        or not all(h.reads and h.chassis in names for h in world.hosts.values())
        or any(h.controller and h.controller.crash_in is not None for h in world.hosts.values())
    ):
        return
    ops = [
        Op("update", "Encap", row, {"options": {**held["options"], "dst_port": str(port)}})
        for row, held in sb.tables["Encap"].items()
        if held["chassis_name"] != ROGUE
    ]
    sb.transact(ops)


@harsh
def stale_nft(world: World, host: Host, number: int) -> None:
    """Reboot into an nftables ruleset that was saved when all was open."""
    if not host.up:
        return
    reboot(world, host, number)
    peers = [one for one in world.hosts.values() if one is not host]
    flows = frozenset(
        ClearFlow(direction=way, local=host.ip, remote=one.ip, port=6081)
        for one in peers
        for way in Direction
    )
    saved = GuardState(ports=frozenset({6081, 4789}), local=frozenset({host.ip}), may_clear=flows)
    world.timeline.after(BOOT_S - 0.001, lambda: host.kernel.layers.update(nft=saved))


@harsh
def restart_ovn(_world: World, host: Host, number: int) -> None:
    """Restart ovn-controller: its rows go and come back."""
    if host.ovn:
        host.restart_ovn(1.0 + number % 8)


@harsh
def restart_charon(world: World, host: Host, number: int) -> None:
    """Stop the IKE daemon in order and start it again."""
    if host.charon.running:
        host.charon.stop()
        world.timeline.after(1.0 + number % 40, host.start_charon)


# --- what goes wrong -----------------------------------------------------------------------------

_CALLS = (
    "ike", "ike.load", "ike.install", "ike.initiate", "ike.observe", "ike.observe_sas",
    "ike.open", "ike.unload", "ike.uninstall", "ike.terminate_ike",
    "nft", "xfrm", "nft.apply", "xfrm.apply", "nft.observe", "xfrm.observe", "kernel", "disk",
)  # fmt: skip


@fault
def fail(_world: World, host: Host, number: int) -> None:
    """Let some of the next calls of one kind fail."""
    assert host.controller is not None
    host.controller.fails[_CALLS[number % len(_CALLS)]] += 1 + (number // 32) % 40


@fault
def monitor(world: World, host: Host, number: int) -> None:
    """Let somebody start ovs-monitor-ipsec on a host, for a while."""
    host.monitor = 4711
    world.timeline.after(5.0 + number % 60, lambda: setattr(host, "monitor", None))


@fault
def stop_controller(world: World, host: Host, number: int) -> None:
    """Let a controller end and not come back for a while."""
    assert host.controller is not None
    host.controller_until = world.timeline.now + 5.0 + number % 200
    host.controller.kill()


@fault
def explode(_world: World, host: Host, number: int) -> None:
    """Let some of the next calls raise what nobody expects."""
    assert host.controller is not None
    times = (number // 32) % 40
    host.controller.explodes[_CALLS[number % len(_CALLS)]] += 10**9 if times == 39 else 1 + times


@fault
def crash_northd(world: World, _host: Host, number: int) -> None:
    """Let one northd end beside one of its next writes."""
    world.northds[number % len(world.northds)].crash_in = number // 2 % 6


@fault
def crash(_world: World, host: Host, number: int) -> None:
    """End the controller between two of its next calls."""
    assert host.controller is not None
    host.controller.crash_in = number % 60


@fault
def slow(world: World, host: Host, number: int) -> None:
    """Let every call of a controller take its time."""
    controller = host.controller
    assert controller is not None
    controller.slow_s = (0.05, 0.5)[number % 2]
    world.timeline.after(20.0, lambda: setattr(controller, "slow_s", 0.0))


@fault
def hang_charon(world: World, host: Host, number: int) -> None:
    """Let the IKE daemon take calls and answer none."""
    if host.charon.answers:
        host.charon.hangs = True
        world.timeline.after(5.0 + number % 50, lambda: setattr(host.charon, "hangs", False))


@fault
def hang_boot(world: World, host: Host, number: int) -> None:
    """Reboot into an IKE daemon that hangs from its start."""
    if not host.up:
        return
    reboot(world, host, number)
    world.timeline.after(BOOT_S - 0.001, lambda: setattr(host.charon, "hangs", True))
    end_s = BOOT_S + 5.0 + number % 50
    world.timeline.after(end_s, lambda: setattr(host.charon, "hangs", False))


@fault
def lose_events(_world: World, host: Host, _number: int) -> None:
    """Let events of the IKE daemon be lost."""
    for backend in list(host.charon.backends):
        backend.overrun()


@fault
def repeat_events(_world: World, host: Host, _number: int) -> None:
    """Let it tell of what has not happened."""
    for backend in list(host.charon.backends):
        backend.repeat()


@fault
def flush_nft(_world: World, host: Host, _number: int) -> None:
    """Flush the nftables ruleset."""
    host.kernel.flush_nft()


@fault
def flush_xfrm(_world: World, host: Host, _number: int) -> None:
    """Flush policies and SAs."""
    host.kernel.flush_xfrm()


@fault
def flush_policies(_world: World, host: Host, _number: int) -> None:
    """Flush policies."""
    host.kernel.flush_policies()


@fault
def flush_states(_world: World, host: Host, _number: int) -> None:
    """Flush SAs."""
    host.kernel.flush_states()


@fault
def full_disk(world: World, host: Host, number: int) -> None:
    """Fill the disk of a host for a while."""
    host.disk_full = True
    world.timeline.after(5.0 + number % 40, lambda: setattr(host, "disk_full", False))


@fault
def torn_disk(world: World, host: Host, number: int) -> None:
    """Damage what the controller keeps on disk, and reboot."""
    for path in sorted(host.state.glob("*")) if host.state.is_dir() else ():
        content = path.read_bytes()
        found = (content[: len(content) // 2], b"\xff" + content, b"")[number % 3]
        path.write_bytes(found)
    reboot(world, host, number)


@fault
def power_off(world: World, host: Host, number: int) -> None:
    """Lose a host for a while, without a word."""
    if host.up:
        world.watch.rebooted(host)
        host.power_off()
        world.timeline.after(10.0 + number % 60, lambda: None if host.up else host.boot())


@fault
def cut_wire(world: World, host: Host, number: int) -> None:
    """Let no IKE message through between two hosts for a while."""
    others = [name for name in sorted(world.hosts) if name != host.name]
    names = frozenset((host.name, others[number % len(others)]))
    world.wire.cut.add(names)
    world.timeline.after(5.0 + number % 60, lambda: world.wire.cut.discard(names))


@fault
def lossy_wire(world: World, _host: Host, number: int) -> None:
    """Lose a part of all IKE messages for a while."""
    world.wire.loss = (0.1, 0.5)[number % 2]
    world.timeline.after(30.0, lambda: setattr(world.wire, "loss", 0.0))


@fault
def partition(world: World, host: Host, number: int) -> None:
    """Cut a host off the southbound."""
    for session in list(world.central.sb.sessions):
        if session.owner == host.name:
            session.partition(2.0 + number % 40)


@fault
def partition_northd(world: World, _host: Host, number: int) -> None:
    """Cut a northd off one database."""
    database = (world.central.nb, world.central.sb)[number % 2]
    for session in list(database.sessions):
        if session.owner == f"northd{1 + number // 2 % 2}":
            session.partition(2.0 + number % 40)


@fault
def delay(world: World, host: Host, number: int) -> None:
    """Let everything between a host and the southbound come late from now on."""
    for session in list(world.central.sb.sessions):
        if session.owner == host.name:
            session.delay_s = (0.5, 3.0)[number % 2]


@fault
def refuse(world: World, _host: Host, number: int) -> None:
    """Let a database refuse writes."""
    database = (world.central.nb, world.central.sb)[number % 2]
    database.refuses += 1 + number % 7


@fault
def cut_local(_world: World, host: Host, number: int) -> None:
    """Restart the local database server."""
    host.vswitch.stop()
    host.timeline.after(1.0 + number % 10, host.vswitch.start)


@fault
def backup(world: World, _host: Host, _number: int) -> None:
    """Keep a backup of both databases, for later."""
    world.backup = world.central.backup()


@fault
def restore_nb(world: World, _host: Host, _number: int) -> None:
    """Put the backup of the northbound back."""
    world.central.nb.restore(world.backup[0])


@fault
def restore_sb(world: World, _host: Host, _number: int) -> None:
    """Put the backup of the southbound back."""
    world.central.sb.restore(world.backup[1])


@fault
def restore_both(world: World, _host: Host, _number: int) -> None:
    """Put both backups back."""
    world.central.nb.restore(world.backup[0])
    world.central.sb.restore(world.backup[1])


@fault
def empty_nb(world: World, _host: Host, _number: int) -> None:
    """Start the northbound with nothing in it."""
    world.central.nb.restore()


@fault
def empty_sb(world: World, _host: Host, _number: int) -> None:
    """Start the southbound with nothing in it."""
    world.central.sb.restore()


@fault
def wipe_keys(world: World, _host: Host, number: int) -> None:
    """Damage our keys in SB_Global."""
    sb = world.central.sb
    row = next(iter(sb.tables["SB_Global"]), None)
    if row is None or not sb.up:
        return
    held = sb.tables["SB_Global"][row]["external_ids"]
    damaged: dict[str, str] = (
        {},
        {**held, "ovn-ipsec-schema": "99"},
        {**held, "ovn-ipsec-phase": "off"},
        {**held, "ovn-ipsec-generation": "1"},
        {**held, "ovn-ipsec-phase": "perhaps"},
        {k: t for k, t in held.items() if k != "ovn-ipsec-phase"},
    )[number % 6]
    sb.update("SB_Global", row, external_ids=damaged)
    if number % 6 == 1:
        world.timeline.after(15.0, lambda: _unfuture(world))


def _unfuture(world: World) -> None:
    sb = world.central.sb
    row = next(iter(sb.tables["SB_Global"]), None)
    if row is not None and world.central.policy().get("schema") == "99":
        sb.set_keys("SB_Global", row, "external_ids", ovn_ipsec_schema="1")


@fault
def wrong_remote(world: World, host: Host, number: int) -> None:
    """Point a host at another southbound for a while."""
    host.set_local(ovn_remote="tcp:10.1.0.1:6643")
    back = "tcp:10.1.0.1:6642"
    world.timeline.after(5.0 + number % 60, lambda: host.set_local(ovn_remote=back))


@fault
def stop_northds(world: World, _host: Host, number: int) -> None:
    """End all northds for a while."""
    world.northds_until = world.timeline.now + number % 60
    for process in world.northds:
        process.kill()


# --- one hostile chassis -----------------------------------------------------------------------

ROGUE = "hv-rogue"


@hitless
def hostile(world: World, host: Host, number: int) -> None:
    """Let a chassis without a host write what it may write into its own rows.

    That is no fault of others: they lose nothing by it.
    """
    sb = world.central.sb
    if not sb.up:
        return
    encaps = _HOSTILE_ENCAPS[number % len(_HOSTILE_ENCAPS)](host, number)
    digest = _HOSTILE_DIGESTS[number // 8 % len(_HOSTILE_DIGESTS)]
    random = sb.random
    ops = [
        Op("delete", table, row)
        for table in ("Chassis", "Chassis_Private")
        if (row := sb.find(table, name=ROGUE)) is not None
    ]
    rows = [UUID(int=random.getrandbits(128)) for _ in range(len(encaps) + 2)]
    for row, (kind, ip, options) in zip(rows, encaps, strict=False):
        said = {"type": kind, "ip": ip, "options": options, "chassis_name": ROGUE}
        ops.append(Op("insert", "Encap", row, said))
    said = {"name": ROGUE, "hostname": "\x1b[31mrogue\n", "encaps": rows[: len(encaps)]}
    ops.append(Op("insert", "Chassis", rows[-1], said))
    ops.append(Op("insert", "Chassis_Private", rows[-2], {"name": ROGUE, "external_ids": digest}))
    try:
        sb.transact(ops)
    except Refused:
        return


def drop_rows(sb: FakeDatabase, name: str) -> None:
    """Take the rows of a chassis away (ovn-sbctl chassis-del)."""
    for table in ("Chassis", "Chassis_Private"):
        row = sb.find(table, name=name)
        if row is not None:
            sb.delete(table, row)


Encaps = list[tuple[str, str, dict[str, str]]]
_HOSTILE_ENCAPS: tuple[Callable[[Host, int], Encaps], ...] = (
    lambda _host, _number: [("geneve", "10.9.9.9", {"dst_port": "500"})],
    lambda _host, number: [("geneve", f"10.9.{number % 200}.{i}", {}) for i in range(1, 250)],
    lambda _host, _number: [
        ("geneve", f"10.9.1.{i}", {"dst_port": str(7000 + i)}) for i in range(1, 40)
    ],
    lambda host, _number: [("vxlan", str(host.ip), {})],
    lambda _host, _number: [("geneve", "10.9.9.9\n", {"ovn-ipsec": "off"})],
    lambda _host, _number: [("geneve", "10.9.9.10", {"ovn-ipsec": "off", "dst_port": "4500"})],
)
_HOSTILE_DIGESTS: tuple[dict[str, str], ...] = (
    {},
    {"ovn-ipsec-generation": "x", "ovn-ipsec-phase": "\x1b[2J", "ovn-ipsec-agent": "evil 1"},
    {
        "ovn-ipsec-generation": "1",
        "ovn-ipsec-phase": "prepare",
        "ovn-ipsec-agent": "evil 1",
        "ovn-ipsec-pairs": "encrypted=0 blocked=9999999",
    },
)


# --- the end -------------------------------------------------------------------------------------


def heal(world: World) -> None:
    """Let everything that has gone wrong be over, and the operator say what he wants."""
    central = world.central
    for database in (central.nb, central.sb):
        database.start()
        database.refuses = 0
        for session in database.sessions:
            session.delay_s = 0.002
    world.wire.loss = 0.0
    world.wire.cut.clear()
    releases.of_program.clear()
    known = {host.chassis for host in world.hosts.values()}
    for row in [row["name"] for row in central.sb.tables["Chassis"].values()]:
        if row not in known:
            drop_rows(central.sb, row)
    for host in world.hosts.values():
        host.heal()


def confirm(world: World) -> None:
    """Let the operator say what he wants, and that this database is the right one."""
    _unfuture(world)
    state_intent(world)
    said = world.central.nb_global["external_ids"].get("ovn-ipsec-error", "")
    if not world.intent.enabled or "ovn-ipsec-confirm=" in said:
        named = re.search(r"ovn-ipsec-confirm=([0-9]+)", said)
        generation = named[1] if named else world.central.policy().get("generation")
        world.central.set_option("confirm", generation)
    if not world.intent.enabled and not world.central.policy().get("phase"):
        # Neither database knows what the chassis hold, so there is nothing that could be relaxed.
        world.central.set_switch(on=True)
        world.timeline.after(5.0, lambda: state_intent(world))
