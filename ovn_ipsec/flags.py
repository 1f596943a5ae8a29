# SPDX-License-Identifier: Apache-2.0
"""Shell: the flags that both daemons take, and the folders that their defaults name."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, TypeVar

import click

from . import __version__, log
from .model.chassis import IpAddress

F = TypeVar("F", bound=Callable[..., Any])

OVS_RUNDIR = os.environ.get("OVS_RUNDIR", "/var/run/openvswitch")
OVN_RUNDIR = os.environ.get("OVN_RUNDIR", "/var/run/ovn")
OVN_SYSCONFDIR = os.environ.get("OVN_SYSCONFDIR", "/etc/ovn")


@dataclass(frozen=True, slots=True, kw_only=True)
class Common:
    """The flags that both daemons take."""

    pidfile: str | None
    log_file: str | None
    log_format: str
    log_level: str
    unixctl: str | None
    private_key: str | None
    certificate: str | None
    ca_cert: str | None
    metrics_port: int | None
    metrics_address: IpAddress


def common_options(command: F) -> F:
    """Add the flags of Common to a click command, which gets them as one argument `common`."""

    def collected(**kwargs: Any) -> Any:
        names = Common.__dataclass_fields__
        common = Common(**{name: kwargs.pop(name) for name in names})
        return command(common=common, **kwargs)

    collected.__name__ = command.__name__
    collected.__doc__ = command.__doc__
    collected.__click_params__ = getattr(command, "__click_params__", [])  # type: ignore[attr-defined]
    for option in reversed(_OPTIONS):
        collected = option(collected)
    return collected  # type: ignore[return-value]


def _address(_context: click.Context, parameter: click.Parameter, text: str) -> IpAddress:
    try:
        return ip_address(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} is not an IP address", param=parameter) from None


_OPTIONS = (
    click.option("--pidfile", metavar="FILE", help="Pidfile (default: in the run directory)."),
    click.option("--log-file", metavar="FILE", help="Log to FILE (default: standard error)."),
    click.option(
        "--log-format",
        type=click.Choice(["text", "json"]),
        default="text",
        show_default=True,
        help="Format of log lines.",
    ),
    click.option(
        "--log-level",
        type=click.Choice(list(log.LEVELS)),
        default="info",
        show_default=True,
        help="Lowest level that is logged.",
    ),
    click.option("--unixctl", metavar="SOCKET", help="Control socket, for appctl -t."),
    click.option("-p", "--private-key", metavar="FILE", help="Private key for ssl: remotes."),
    click.option("-c", "--certificate", metavar="FILE", help="Certificate for ssl: remotes."),
    click.option(
        "-C",
        "--ca-cert",
        metavar="FILE",
        help="CA certificate that the server of ssl: remotes is verified with.",
    ),
    click.option(
        "--metrics-port",
        metavar="PORT",
        type=click.IntRange(1, 65535),
        help="Serve metrics for Prometheus over HTTP at /metrics (default: off).",
    ),
    click.option(
        "--metrics-address",
        metavar="IP",
        default="127.0.0.1",
        show_default=True,
        callback=_address,
        help="Address to serve metrics on; :: for all. There is no authentication.",
    ),
    click.version_option(__version__),
)
