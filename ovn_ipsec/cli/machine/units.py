# SPDX-License-Identifier: Apache-2.0
"""Edge: units of systemd, and what they have logged last."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from .programs import output_of
from .values import Unit

RUNS = Path("/run/systemd/system")
"""There only where systemd is the first process: sd_booted(3)."""
LOG_LINES = 300
"""Last lines of the log of a unit."""
_FIELDS = {
    "LoadState": "load",
    "ActiveState": "active",
    "SubState": "sub",
    "UnitFileState": "starts",
    "Result": "result",
    "ExecStartPost": "start_post",
    "ExecReload": "reload",
    "KillSignal": "kill_signal",
}


def has_systemd() -> bool:
    """Tell whether systemd runs this machine."""
    return RUNS.is_dir()


def units(names: Iterable[str]) -> Mapping[str, Unit]:
    """Look at units.

    Args:
        names: Without ``.service``.

    Returns:
        All of them by name, those that do not exist too; empty where systemd does not run.

    Raises:
        EdgeError: systemctl is not here, failed or took too long.
    """
    if not has_systemd():
        return {}
    wanted = [f"{name}.service" for name in names]
    properties = f"--property=Names,{','.join(_FIELDS)}"
    found = dict(parse_units(output_of("systemctl", "show", properties, *wanted)))
    return {name: found.get(name, Unit(name=name)) for name in names}


def parse_units(text: str) -> Iterator[tuple[str, Unit]]:
    """Parse what ``systemctl show`` prints: one block for each unit, under each of its names."""
    for block in text.split("\n\n"):
        values = dict(line.partition("=")[::2] for line in block.splitlines())
        fields = {ours: values[theirs] for theirs, ours in _FIELDS.items() if theirs in values}
        for full in values.get("Names", "").split():
            name = full.removesuffix(".service")
            yield name, Unit(name=name, **fields)


def last_lines(name: str) -> str:
    """Read the end of the log of a unit.

    Raises:
        EdgeError: journalctl is not here, failed or took too long.
    """
    return output_of(
        *("journalctl", "--no-pager", "--quiet", "--output=short-iso-precise"),
        *(f"--lines={LOG_LINES}", f"--unit={name}.service"),
    )
