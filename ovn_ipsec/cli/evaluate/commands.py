# SPDX-License-Identifier: Apache-2.0
"""Shell: `ovn-ipsec evaluate`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ...errors import EdgeError
from ...model.chassis import CHASSIS_NAME, ChassisName
from ...model.policy import Profile
from ..output import complain, complain_of, say_json, warn
from ..settings import Exit, Settings
from .values import NONE

if TYPE_CHECKING:
    from .near import End, Order
    from .values import Findings

PROFILES = (NONE, *(profile.value for profile in Profile))


def _profiles(
    _ctx: click.Context, _parameter: click.Parameter, value: str | None
) -> tuple[str, ...]:
    """Read the list of profiles."""
    found = () if value is None else tuple(value.split(","))
    for word in found:
        if word not in PROFILES or found.count(word) > 1:
            raise click.BadParameter(f"{word!r}: expected each once of {', '.join(PROFILES)}")
    return found


@click.command(name="evaluate", short_help="Measure what two chassis carry, and what it costs.")
@click.argument("one", metavar="A")
@click.argument("other", metavar="B")
@click.option(
    "--profiles",
    callback=_profiles,
    metavar="LIST",
    help="Change the pair to each of these in turn: none, default, aes256-sha256 and so on, "
    "separated by commas.",
)
@click.option(
    "--seconds",
    type=click.IntRange(1, 300),
    default=5,
    show_default=True,
    help="How long each run sends.",
)
@click.option(
    "--repeat", type=click.IntRange(1, 50), default=3, show_default=True, help="Runs of each kind."
)
@click.option(
    "--rate",
    "rate_mbps",
    type=click.IntRange(0, 1_000_000),
    default=1000,
    show_default=True,
    metavar="MBIT/S",
    help="Send at most so much; 0: as much as possible.",
)
@click.option(
    "--mtu",
    type=click.IntRange(576, 65000),
    metavar="BYTES",
    help="Of the port that is made here (default: 160 less than that of the underlay's interface).",
)
@click.option(
    "--wait",
    "wait_s",
    type=click.FloatRange(1, 3600),
    default=600.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for the other chassis.",
)
@click.option(
    "--picture",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Draw the result, too, as SVG.",
)
@click.option("--yes", is_flag=True, help="Do not ask before the link is loaded.")
@click.pass_obj
def command(settings: Settings, /, one: str, other: str, **flags: Any) -> None:
    """Measure what the tunnel from the chassis A to B carries, and what that costs.

    Run the same command on both, as root; on A it needs NB. Each makes a port of its own on the
    integration bridge, on a logical switch that has no other ports, and deletes it at the end. A
    sends with iperf3: one TCP stream, four, and small UDP packets, with pings beside them. It shows
    throughput, packets a second, latency and what the processors of both did: medians of all runs,
    with the lowest and highest. On B, only --mtu and --wait have an effect.

    The pair is measured as it is. With --profiles, a temporary rule in NB changes the cipher suite
    of this pair, and with none, all of its traffic is in clear text meanwhile.

    Exit status: 0 measured, 1 interrupted or not confirmed, 2 not possible.
    """
    for name in (one, other):
        if not CHASSIS_NAME.match(name):
            raise click.BadParameter(f"{name!r} is no name of a chassis")
    if one == other:
        raise click.BadParameter("A and B are the same chassis")
    picture, yes = flags.pop("picture"), flags.pop("yes")
    try:
        found = _run(settings, (ChassisName(one), ChassisName(other)), flags, yes=yes)
    except EdgeError as error:
        complain_of(error)
        sys.exit(Exit.CANNOT_TELL)
    if found is not None:
        _show(settings, found, picture)


def _run(
    settings: Settings, names: tuple[ChassisName, ChassisName], flags: dict[str, Any], *, yes: bool
) -> Findings | None:
    """Be one of the two ends."""
    from .near import Order, evaluate, own_end  # noqa: PLC0415 - --help stays quick
    from .network import Network  # noqa: PLC0415

    order = Order(network=Network(one=names[0], other=names[1]), **flags)
    end = own_end(settings)
    if end.name == names[1]:
        _serve(settings, order, end)
        return None
    if end.name != names[0]:
        raise EdgeError(f"this host is the chassis {end.name}: run this on {' and '.join(names)}")
    _confirm(order, yes=yes)
    return evaluate(settings, order, end, warn)


def _confirm(order: Order, *, yes: bool) -> None:
    """Ask, unless it was said beforehand.

    Raises:
        click.UsageError: There is nobody to ask.
        click.Abort: The answer is no.
    """
    one, other = order.network.one, order.network.other
    limit = f"up to {order.rate_mbps} Mbit/s" if order.rate_mbps else "as much as possible"
    text = f"This sends {limit} from {one} to {other} for about {order.takes_s:.0f} s."
    if order.profiles:
        text += f" A rule in NB changes how this pair is encrypted: {', '.join(order.profiles)}."
    if NONE in order.profiles:
        text += f" Meanwhile, ALL traffic between {one} and {other} is in clear text for a while."
    if yes:
        warn(text)
        return
    if not sys.stdin.isatty():
        raise click.UsageError(f"{text} Nobody can be asked here: confirm with --yes")
    click.echo(text, err=True)
    click.confirm("Go on?", abort=True, err=True)


def _serve(settings: Settings, order: Order, end: End) -> None:
    """Be the far end until the near one is done.

    Raises:
        EdgeError: It did not come, or something refuses.
    """
    from . import far, host, port, traffic  # noqa: PLC0415 - --help stays quick
    from .answers import Question, line_of  # noqa: PLC0415
    from .near import clear_host, make_workload, own_pair  # noqa: PLC0415
    from .undo import undoing  # noqa: PLC0415

    one, place = order.network.one, order.network.far
    answers = {
        Question.FACTS: lambda: line_of(host.facts(end.name, end.address)),
        Question.SAMPLE: lambda: line_of(host.sample()),
        Question.PAIR: lambda: line_of(own_pair(one)),
        Question.END: lambda: line_of(None),
    }
    traffic.expect_programs()
    with port.lock(), undoing() as undo:
        clear_host(settings, warn)
        undo.callback(port.remove, settings)
        make_workload(settings, end, place, order.mtu)
        with traffic.server(place.ip):
            warn(f"waiting for {one}: run ovn-ipsec evaluate {one} {end.name} there, too")
            if not far.serve(place.ip, answers, order.wait_s):
                raise EdgeError(f"{one} has asked nothing for {order.wait_s:.0f} s")
    warn("done")


def _show(settings: Settings, found: Findings, picture: Path | None) -> None:
    """Print the result, and draw it."""
    from .picture import draw  # noqa: PLC0415 - --help stays quick
    from .summary import as_json, columns, facts_lines, limited, rows  # noqa: PLC0415

    if settings.as_json:
        say_json(as_json(found))
    else:
        from ..tables import Screen  # noqa: PLC0415

        screen = Screen()
        screen.table(columns(found), rows(found))
        screen.line("")
        for line in facts_lines(found):
            screen.line(line)
    for name in dict.fromkeys(limited(found)):
        warn(f"{name}: it may be --rate that was measured; a higher one, or 0, shows more")
    if picture is not None:
        try:
            picture.write_text(draw(found), encoding="utf-8")
        except OSError as error:
            complain(f"{picture}: {error.strerror}")
            sys.exit(Exit.CANNOT_TELL)
