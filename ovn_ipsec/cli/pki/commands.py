# SPDX-License-Identifier: Apache-2.0
"""Shell: the commands of `ovn-ipsec pki`."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from ...clock import utc_now
from ...errors import IPsecError
from ...pki.values import KeyKind
from ..output import complain_of, say_json
from ..settings import Exit, Settings
from .options import (
    A_PATH,
    Pki,
    PkiGroup,
    authority_facts,
    authority_life,
    authority_line,
    key_type,
    kind,
    life,
    out,
    tell,
)
from .rollover import rollover
from .show import as_document, show

if TYPE_CHECKING:
    from ...pki.index import Entry
    from ...pki.issuance import Issued

CA_FOLDER = "/var/lib/ovn-ipsec/ca"
STOCK_FOLDER = "/etc/ipsec.d"
FILE_MAX = 65536
"""Bytes that are read of a request and the words before it."""
MAKE_REQUEST = "have the chassis make one for its name (docs/howto/pki.md)"


@click.group(
    cls=PkiGroup, name="pki", short_help="Run a small certificate authority for the chassis."
)
@click.option(
    "--ca",
    type=A_PATH,
    envvar="OVN_IPSEC_CA",
    default=CA_FOLDER,
    show_default=True,
    metavar="DIR",
    help="Folder of the authority (environment variable: OVN_IPSEC_CA).",
)
@click.pass_context
def command(ctx: click.Context, ca: Path) -> None:
    """Run a small certificate authority for the chassis of a cluster.

    Everything is kept in one folder that only its owner may read: back it up, and keep it off the
    chassis. No database is needed. Begin with init; then create keys and certificates with issue,
    or sign the request of a chassis with sign.
    """
    ctx.obj = Pki(ca, ctx.find_object(Settings) or Settings(ovnnb_db="", ovnsb_db=""))


@command.command()
@click.option("--name", default="OVN IPsec CA", show_default=True, help="Name of the authority.")
@click.option(
    "--key-type",
    type=click.Choice([kind.value for kind in KeyKind]),
    default=KeyKind.ECDSA_P256.value,
    show_default=True,
    help="Type of its key; rsa-3072 if chassis run the stock ovs-monitor-ipsec with strongSwan.",
)
@authority_life
@click.option(
    "--permit",
    multiple=True,
    metavar="DNS",
    help="Sign only names at or below this DNS name; may be repeated.",
)
@click.pass_obj
def init(pki: Pki, name: str, key_type: str, life: timedelta, permit: tuple[str, ...]) -> None:
    """Create the authority in a new or empty folder."""
    from ...pki.authority import Shape  # noqa: PLC0415 - --help stays quick

    folder = pki.folder
    shape = Shape(name=name, life=life, permitted=permit)
    entry = folder.init(shape, KeyKind(key_type), utc_now())
    tell(
        pki,
        {
            "authority": authority_facts(entry),
            "folder": str(pki.path),
            "bundle": str(folder.bundle_path),
        },
        f"{authority_line(entry)}, in {pki.path}",
        f"every chassis must trust {folder.bundle_path}",
        "    next: ovn-ipsec pki issue CHASSIS",
    )


@command.command(short_help="Create a key and a certificate for chassis.")
@click.argument("chassis", nargs=-1, required=True)
@key_type
@life
@out
@click.pass_obj
def issue(
    pki: Pki, chassis: tuple[str, ...], key_type: str | None, life: timedelta, out: Path | None
) -> None:
    """Create a key and a certificate for each CHASSIS.

    CHASSIS is the name in the southbound database (external_ids:system-id). Writes key.pem,
    cert.pem and ca.pem; copy them to the chassis over a channel that you trust. To keep the key on
    the chassis, create a request there and use sign instead.
    """
    from ...pki import issuance  # noqa: PLC0415 - --help stays quick

    options = issuance.IssueOptions(life=life, kind=kind(key_type), out=out)
    _one_folder(chassis, out)
    _written(pki, (issuance.issue(pki.folder, name, options, utc_now()) for name in chassis))


@command.command(short_help="Sign the request of a chassis.")
@click.argument("csr", type=click.File("rb"))
@click.option("--chassis", metavar="NAME", help="Refuse a request of any other chassis.")
@life
@click.option(
    "--out",
    type=A_PATH,
    metavar="FILE",
    help="Write the certificate to FILE (default: standard output).",
)
@click.pass_obj
def sign(pki: Pki, csr: BinaryIO, chassis: str | None, life: timedelta, out: Path | None) -> None:
    """Sign the certificate request in the file CSR (PEM; - for standard input).

    The request must have one name, that of the chassis: one SAN DNS name, or a CN and no SAN.
    Nothing else in it is used. Without --chassis the name is taken from the request, so check it.
    """
    from ...pki import files, issuance, request  # noqa: PLC0415 - --help stays quick
    from ...pki.errors import RequestError  # noqa: PLC0415
    from ...pki.values import checked_name  # noqa: PLC0415

    text = csr.read(FILE_MAX).decode("latin-1")
    text = text[max(text.find("-----BEGIN"), 0) :]  # ovs-pki and openssl -text put words before it
    try:
        name = checked_name(chassis) if chassis else request.requested_name(text)
        checked = request.check_request(text, name)
    except RequestError as error:
        where = getattr(csr, "name", "standard input")
        raise RequestError(where, error.what, next_step=MAKE_REQUEST) from None
    pem = issuance.sign(pki.folder, checked, life, utc_now())
    if out is not None:
        files.write(out, pem.encode("ascii"))
    if pki.as_json:
        say_json({"chassis": name, "certificate": pem, "file": None if out is None else str(out)})
        return
    if out is None:
        click.echo(pem, nl=False)
    click.echo(f"signed for {name}", err=True)


@command.command(short_help="Issue a new certificate for chassis.")
@click.argument("chassis", nargs=-1, required=True)
@click.option("--same-key", is_flag=True, help="Keep the key; for chassis that made their own.")
@key_type
@life
@out
@click.pass_obj
def renew(pki: Pki, /, chassis: tuple[str, ...], **flags: Any) -> None:
    """Issue a new certificate with a new key for each CHASSIS; the old one stays valid."""
    from ...pki import issuance  # noqa: PLC0415 - --help stays quick

    if flags["same_key"] and flags["key_type"]:
        raise click.UsageError("--same-key and --key-type cannot be combined")
    options = issuance.IssueOptions(
        life=flags["life"],
        kind=kind(flags["key_type"]),
        same_key=flags["same_key"],
        out=flags["out"],
    )
    _one_folder(chassis, options.out)
    _written(pki, (issuance.renew(pki.folder, name, options, utc_now()) for name in chassis))


@command.command(short_help="Revoke a chassis, or one certificate.")
@click.argument("what", metavar="CHASSIS|SERIAL")
@click.pass_obj
def revoke(pki: Pki, what: str) -> None:
    """Revoke a chassis with all its certificates, or one certificate.

    A revoked chassis gets no certificate until it is readmitted; if ovn-ipsec-northd uses this
    authority, it puts the chassis into quarantine. Revoking one certificate only blocks its key.
    Waits while another process signs in the folder. Writes crl.pem: a peer that does not read it
    trusts the certificate until it expires.
    """
    from ...pki import issuance  # noqa: PLC0415 - --help stays quick

    folder = pki.folder
    done = issuance.revoke(folder, what, utc_now())
    lines = [f"revoked {issuance.describe(entry)}" for entry in done.entries]
    if not done.entries:
        lines.append("nothing to do: already revoked")
    if done.chassis:
        lines.append(
            f"{done.chassis} gets no certificate until you run:"
            f" ovn-ipsec pki readmit {done.chassis}"
        )
    lines.append(f"    next: copy {folder.crl_path} to every host that reads it")
    facts = {
        "revoked": [_facts(entry) for entry in done.entries],
        "chassis": done.chassis,
        "crl": str(folder.crl_path),
    }
    tell(pki, facts, *lines)


@command.command(short_help="Allow a revoked chassis to get certificates again.")
@click.argument("chassis")
@click.pass_obj
def readmit(pki: Pki, chassis: str) -> None:
    """Allow a revoked CHASSIS to get certificates again, with a new key."""
    from ...pki import issuance  # noqa: PLC0415 - --help stays quick

    issuance.readmit(pki.folder, chassis, utc_now())
    tell(
        pki,
        {"chassis": chassis},
        f"{chassis} may get certificates again",
        f"    next: ovn-ipsec pki issue {chassis}, or sign a request with a new key",
    )


@command.command(short_help="Write ca.pem and crl.pem again.")
@click.pass_obj
def refresh(pki: Pki) -> None:
    """Write ca.pem and crl.pem again; a crl.pem is valid for 30 days."""
    from ...pki import issuance  # noqa: PLC0415 - --help stays quick

    folder = pki.folder
    index = issuance.refresh(folder, utc_now())
    until = index.crl_until
    facts = {"crl": str(folder.crl_path), "valid_until": until.isoformat()}
    tell(pki, facts, f"{folder.crl_path}: valid until {until:%Y-%m-%d %H:%M} UTC")


@command.command(
    name="export-stock", short_help="Write the files that a stock ovs-monitor-ipsec needs."
)
@click.argument("chassis")
@click.option("--out", type=A_PATH, metavar="DIR", required=True, help="Write into DIR.")
@click.option(
    "--target",
    default=STOCK_FOLDER,
    show_default=True,
    metavar="DIR",
    help="Folder on the chassis; AppArmor and SELinux let the IKE daemon read the default.",
)
@click.pass_obj
def export_stock(pki: Pki, chassis: str, out: Path, target: str) -> None:
    """Write the files for a CHASSIS with a stock ovs-monitor-ipsec, and print what to run there."""
    from ...pki import stock  # noqa: PLC0415 - --help stays quick

    done = stock.export(pki.folder, chassis, out, target.rstrip("/"), utc_now())
    if pki.as_json:
        files = [str(path) for path in done.written]
        say_json({"files": files, "remarks": list(done.remarks), "command": done.command})
        return
    for path in done.written:
        click.echo(f"wrote {path}")
    for remark in done.remarks:
        click.echo(f"note: {remark}", err=True)
    click.echo(f"copy to {target} on {chassis}, and run there:\n\n{done.command}")


@command.command(short_help="Show the certificate of every chassis, and what to do next.")
@click.pass_obj
def status(pki: Pki) -> None:
    """Show the newest certificate of each chassis, and what to do next.

    Warns 30 and 7 days before a certificate expires, or in the last tenth of a shorter life. Exit
    status: 0 healthy, 1 degraded, 2 unknown.
    """
    from ...pki.report import judge  # noqa: PLC0415 - --help stays quick

    folder, now = pki.folder, utc_now()
    try:
        index = folder.read()
        report = judge(index, folder.stale(index), now)
    except IPsecError as error:
        complain_of(error)
        sys.exit(Exit.CANNOT_TELL)
    code = Exit.DEGRADED if report.troubles else Exit.WELL
    if pki.as_json:
        say_json(as_document(index.trusted, report, code))
    else:
        show(index.trusted, report)
    sys.exit(code)


def _one_folder(chassis: tuple[str, ...], out: Path | None) -> None:
    if out is not None and len(chassis) > 1:
        raise click.UsageError("--out is for one CHASSIS: the next one would overwrite its files")


def _written(pki: Pki, issued: Iterable[Issued]) -> None:
    """Print what was issued, each as it comes."""
    from ...pki.issuance import describe  # noqa: PLC0415 - --help stays quick

    facts = []
    for done in issued:
        files = [str(path) for path in done.written]
        facts.append({**_facts(done.entry), "files": files})
        if not pki.as_json:
            click.echo(describe(done.entry))
            for path in files:
                click.echo(f"    {path}")
    if pki.as_json:
        say_json({"issued": facts})


def _facts(entry: Entry) -> dict[str, Any]:
    """Write a certificate for programs."""
    from ...pki.index import format_serial  # noqa: PLC0415 - --help stays quick

    return {
        "chassis": entry.chassis,
        "serial": format_serial(entry.serial),
        "not_after": entry.not_after.isoformat(),
    }


command.add_command(rollover)
