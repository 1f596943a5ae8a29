# SPDX-License-Identifier: Apache-2.0
"""Who else cares for tunnels on this host, told from a made-up /proc."""

from __future__ import annotations

from pathlib import Path

import pytest

from controller.ports.ovsdb import live_monitor_ipsec

PID, NEXT = 42, 43
SCRIPT = "/usr/share/openvswitch/scripts/ovs-monitor-ipsec"


def process(
    proc: Path, pid: str, *argv: str, comm: str = "", netns: str | None = "net:[1]"
) -> None:
    """Add a process."""
    folder = proc / pid
    (folder / "ns").mkdir(parents=True)
    (folder / "cmdline").write_bytes(b"".join(word.encode() + b"\0" for word in argv))
    (folder / "comm").write_text(f"{comm}\n")
    if netns is not None:
        (folder / "ns" / "net").symlink_to(netns)


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """A /proc with ourselves, and things that are no process."""
    made = tmp_path / "proc"
    process(made, "self", "python3", "-m", "controller")
    (made / "uptime").write_text("1 1\n")
    (made / "7").mkdir()
    return made


@pytest.mark.parametrize(
    "argv",
    [
        ("/usr/bin/python3", SCRIPT, "unix:/run/openvswitch/db.sock"),
        ("python3.11", "-u", "-E", SCRIPT, "--ike-daemon=strongswan"),
        ("/usr/bin/python3", "./ovs-monitor-ipsec"),
    ],
)
def test_a_monitor_is_found(proc: Path, argv: tuple[str, ...]) -> None:
    """However it is called."""
    process(proc, str(PID), *argv)
    assert PID == live_monitor_ipsec(proc)


@pytest.mark.parametrize(
    "argv",
    [
        (),
        ("vi", SCRIPT),
        ("python3",),
        ("python3", "-m", "pytest", SCRIPT),
        ("python3", "/opt/tool.py", SCRIPT),
        ("python3", f"{SCRIPT}.py"),
        ("bash", "-c", f"python3 {SCRIPT}"),
    ],
)
def test_what_only_names_it_is_not_one(proc: Path, argv: tuple[str, ...]) -> None:
    """An editor, a test, a shell."""
    process(proc, str(PID), *argv)
    assert live_monitor_ipsec(proc) is None


def test_a_monitor_of_another_network_namespace_does_not_count(proc: Path) -> None:
    """Its kernel state is its own; the next one is ours."""
    process(proc, str(PID), "python3", SCRIPT, netns="net:[2]")
    assert live_monitor_ipsec(proc) is None
    process(proc, str(NEXT), "python3", SCRIPT)
    assert NEXT == live_monitor_ipsec(proc)


def test_a_monitor_of_an_unknown_namespace_counts(proc: Path) -> None:
    """Unknown is not absent."""
    process(proc, str(PID), "python3", SCRIPT, netns=None)
    assert PID == live_monitor_ipsec(proc)


def test_a_monitor_of_another_user_does_not_count(proc: Path) -> None:
    """Any user can call a process so; none but root can drive the IKE daemon."""
    process(proc, str(PID), "python3", SCRIPT)
    owner = (proc / str(PID)).stat().st_uid
    assert live_monitor_ipsec(proc, frozenset({owner + 1})) is None
    assert PID == live_monitor_ipsec(proc, frozenset({owner}))


def test_the_real_proc_can_be_read() -> None:
    """Whatever runs here."""
    assert live_monitor_ipsec() is None or isinstance(live_monitor_ipsec(), int)
