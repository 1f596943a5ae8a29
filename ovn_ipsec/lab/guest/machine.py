# SPDX-License-Identifier: Apache-2.0
"""Run a command as root in a throw-away Linux guest that has what this machine's kernel lacks.

Edge (QEMU). Usage::

    python -m ovn_ipsec.lab.guest [--mem GIB] [--cpus N] [--timeout S] [--artefacts DIR]
        [--speed PERCENT] [--just-booted] [--suite NAME] -- CMD...

The guest is Debian's cloud kernel under QEMU, emulated where there is no KVM. Its root is this
machine's root file system seen through virtiofs, under an overlay in the guest's memory: every
installed program is there, so is this project, and nothing that the command writes comes back.
Its output comes out on standard output and its exit status is the result (125: the guest itself
failed; 124: out of time). With ``--artefacts`` what the command leaves in the directory named by
``$OVN_IPSEC_LAB_ARTEFACTS`` is unpacked on this side.

Two options try other machines than this one: ``--speed 20`` gives the guest a fifth of its time,
and ``--just-booted`` sets its clocks back to where a fast machine begins, which boots in a second.
``--suite trixie`` tries another Debian: the guest then has its root and its kernel, and of this
machine only the project, at the same place, where it cannot be written.

Debian packages: qemu-system-x86, linux-image-cloud-amd64, busybox-static; mmdebstrap for --suite.
"""

from __future__ import annotations

import argparse
import compileall
import contextlib
import io
import os
import re
import secrets
import selectors
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import termios
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..capabilities import missing_capabilities
from ..errors import LabError
from ..waiting import poll
from . import initramfs, roots
from .relay import Relay
from .throttle import FULL, throttled

GUEST_FAILED = 125
OUT_OF_TIME = 124
SOCKET_S = 120.0
"""How long virtiofsd may take to listen."""
ARTEFACTS = "/tmp/ovn-ipsec-artefacts"  # noqa: S108 - inside the guest, where nobody else is

PYCACHE = "/tmp/ovn-ipsec-pycache"  # noqa: S108 - the same

PROJECT = Path(__file__).resolve().parents[3]
"""The tree that holds the packages."""
PACKAGES = ("controller", "northd_ext", "ovn_ipsec")
"""Beside each other in the folder that holds this one."""

ROOTS = PROJECT / "build" / "roots"
"""Where the roots of other Debians are kept."""
_ROOT, _PROJECT = "rootfs", "project"
"""Tags of virtiofs."""

Output = Callable[[bytes], None]


class GuestError(RuntimeError):
    """The guest cannot be started on this machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestOptions:
    """How large the guest is, how long it may take, and what goes in and out."""

    mem_gib: int = 4
    """Memory in GiB; three quarters of it may hold what the command writes."""
    cpus: int = 2
    """Virtual processors."""
    timeout: float = 600.0
    """Seconds from the start of QEMU to its end by force."""
    kvm: bool = False
    """Use KVM; only on request, as a nested one may hang or abort."""
    speed: int = FULL
    """Per cent of the time that the guest's processors may run."""
    just_booted: bool = False
    """Whether the command finds its kernel's clocks where those of a fast machine are."""
    interactive: bool = False
    """Connect standard input, so that the command can be a shell."""
    artefacts: Path | None = None
    """Where the artefacts are unpacked; None drops them."""
    env: Mapping[str, str] = field(default_factory=dict)
    """What is added to the command's environment."""
    root: Path = Path("/")
    """The root file system, with its kernel; that of this machine, or what ``roots`` has made."""

    @property
    def is_foreign(self) -> bool:
        """Whether the root is not this machine's, so that the project is not in it."""
        return self.root != Path("/")


def run_in_guest(argv: Sequence[str], options: GuestOptions, output: Output | None = None) -> int:
    """Boot a guest, run the command in it from this directory, and return its exit status.

    Args:
        argv: The command; the guest sees this machine's files.
        options: See there.
        output: Called with each piece of the command's output; standard output by default.

    Returns:
        The command's status, 125 when the guest failed, 124 when its time was over.

    Raises:
        GuestError: A program or the kernel is not installed.
    """
    show = output or _to_stdout
    _compile()
    with tempfile.TemporaryDirectory(prefix="ovn-ipsec-guest-") as text:
        work, relay = Path(text), Relay(f"guest-{secrets.token_hex(8)}")
        with contextlib.ExitStack() as stack:
            stack.enter_context(_virtiofsd(work, _ROOT, options.root))
            if options.is_foreign:
                stack.enter_context(_virtiofsd(work, _PROJECT, PROJECT))
            stack.enter_context(_terminal_kept())
            qemu = stack.enter_context(_qemu(work, argv, options, relay))
            status = _relay(qemu, relay, options.timeout, show)
        if status == GUEST_FAILED:
            _complain(work)
        if options.artefacts is not None and (packed := relay.artefacts()) is not None:
            _unpack(packed, options.artefacts)
    return status


def run_here(argv: Sequence[str], options: GuestOptions, output: Output | None = None) -> int:
    """Run the command on this kernel, in network, mount and process namespaces of its own.

    Everything that it starts ends with it. Arguments and result are those of ``run_in_guest``.
    """
    with tempfile.TemporaryDirectory(prefix="ovn-ipsec-artefacts-") as own:
        folder = options.artefacts or Path(own)
        folder.mkdir(parents=True, exist_ok=True)
        script = 'mount -t tmpfs run /run && mkdir -p /run/lock && ip link set lo up && exec "$@"'
        spaces = ("--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
        process = subprocess.Popen(
            ["unshare", *spaces, "--", "sh", "-c", script, "sh", *argv],
            stdin=None if options.interactive else subprocess.DEVNULL,
            stdout=None if options.interactive else subprocess.PIPE,
            stderr=None if options.interactive else subprocess.STDOUT,
            env={
                **os.environ,
                **options.env,
                "OVN_IPSEC_LAB": "host",
                "OVN_IPSEC_LAB_ARTEFACTS": str(folder.resolve()),
            },
        )
        with _ended(process):
            if process.stdout is None:
                return process.wait()
            ended = _pump(process, options.timeout, output or _to_stdout)
            return process.wait() if ended else OUT_OF_TIME


def run_anywhere(argv: Sequence[str], options: GuestOptions, output: Output | None = None) -> int:
    """Run the command on this kernel if it can carry the laboratory, else in a guest.

    Another machine than this one is tried in a guest.
    """
    other = options.speed != FULL or options.just_booted or options.is_foreign
    runner = run_in_guest if other or missing_capabilities() else run_here
    return runner(argv, options, output)


def _to_stdout(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def _compile() -> None:
    """Compile our packages here, in a second: what the guest's programs compile is lost with it."""
    for package in PACKAGES:
        compileall.compile_dir(PROJECT / package, quiet=2)


def _kernel(root: Path) -> Path:
    def version(path: Path) -> list[int]:
        return [int(number) for number in re.findall(r"\d+", path.name)]

    kernels = sorted((root / "boot").glob("vmlinuz-*-cloud-amd64"), key=version)
    if not kernels:
        raise GuestError(f"no cloud kernel in {root / 'boot'}: install linux-image-cloud-amd64")
    return kernels[-1]


def _program(package: str, *names: str) -> str:
    for name in names:
        if found := shutil.which(name):
            return found
    raise GuestError(f"no {names[0]}: install {package}")


@contextlib.contextmanager
def _ended(process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def _virtiofsd(work: Path, tag: str, source: Path) -> Iterator[None]:
    paths = ("virtiofsd", "/usr/lib/qemu/virtiofsd", "/usr/libexec/virtiofsd")
    options = ("-o", f"source={source}", "-o", "cache=always", "-o", "sandbox=chroot")
    complaints = work / f"{tag}.log"
    with complaints.open("wb") as log:
        process = subprocess.Popen(
            [_program("qemu-system-common", *paths), f"--socket-path={work / tag}", *options],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    with _ended(process):
        listens = (work / tag).exists
        poll(lambda: listens() or process.poll() is not None, SOCKET_S, every=0.05)
        if not listens():
            raise GuestError(f"virtiofsd: {complaints.read_text().strip()}")
        yield


@contextlib.contextmanager
def _terminal_kept() -> Iterator[None]:
    if not sys.stdin.isatty():
        yield
        return
    before = termios.tcgetattr(0)
    try:
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)


@contextlib.contextmanager
def _qemu(
    work: Path, argv: Sequence[str], options: GuestOptions, relay: Relay
) -> Iterator[subprocess.Popen[bytes]]:
    kernel = _kernel(options.root)
    env = {**options.env, "OVN_IPSEC_LAB_ARTEFACTS": ARTEFACTS}
    if options.is_foreign:
        # Its interpreter is another one; what it compiles goes where it can write.
        env |= {"PYTHONPATH": str(PROJECT), "PYTHONPYCACHEPREFIX": PYCACHE}
    second = initramfs.second_stage(
        argv,
        Path.cwd(),
        env,
        initramfs.Manner(
            token=relay.token,
            on_terminal=options.interactive,
            just_booted=options.just_booted,
        ),
    )
    modules = options.root / "lib" / "modules" / kernel.name.removeprefix("vmlinuz-")
    shared = {_PROJECT: PROJECT} if options.is_foreign else {}
    archive = initramfs.build(modules, second, options.mem_gib * 768, shared)
    (work / "initrd").write_bytes(archive)
    process = subprocess.Popen(
        _qemu_argv(work, kernel, options),
        stdin=None if options.interactive else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=(work / "qemu.log").open("wb"),
    )
    with _ended(process), throttled(process.pid, options.speed):
        yield process


def _qemu_argv(work: Path, kernel: Path, options: GuestOptions) -> list[str]:
    emulated = ["-accel", "tcg,thread=multi,tb-size=512"]
    accel = ["-accel", "kvm"] if options.kvm else []
    memory = f"memory-backend-memfd,id=mem,size={options.mem_gib}G,share=on"
    return [
        _program("qemu-system-x86", "qemu-system-x86_64"),
        *(*accel, *emulated, "-cpu", "max", "-smp", str(options.cpus)),
        *("-m", f"{options.mem_gib}G", "-object", memory, "-numa", "node,memdev=mem"),
        *_shared(work, _ROOT),
        *(_shared(work, _PROJECT) if options.is_foreign else ()),
        *("-display", "none", "-monitor", "none", "-no-reboot", "-nic", "none"),
        *("-serial", f"file:{work / 'console'}"),
        *("-chardev", "stdio,id=out,signal=off", "-serial", "chardev:out"),
        *("-kernel", str(kernel), "-initrd", str(work / "initrd")),
        *("-append", "console=ttyS0 loglevel=4 panic=-1 mitigations=off"),
    ]


def _shared(work: Path, tag: str) -> tuple[str, ...]:
    return (
        *("-chardev", f"socket,id={tag},path={work / tag}"),
        *("-device", f"vhost-user-fs-pci,chardev={tag},tag={tag}"),
    )


def _relay(qemu: subprocess.Popen[bytes], relay: Relay, timeout: float, show: Output) -> int:
    def feed(data: bytes) -> bool:
        if shown := relay.feed(data):
            show(shown)
        return relay.status is not None

    in_time = _pump(qemu, timeout, feed)
    if relay.status is not None:
        return relay.status
    return GUEST_FAILED if in_time else OUT_OF_TIME


def _pump(
    process: subprocess.Popen[bytes], timeout: float, take: Callable[[bytes], bool | None]
) -> bool:
    """Hand over what the process writes until ``take`` says enough; False when out of time."""
    assert process.stdout is not None  # noqa: S101 - it was started with a pipe
    descriptor, end = process.stdout.fileno(), time.monotonic() + timeout
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        while (left := end - time.monotonic()) > 0:
            if not selector.select(left):
                continue
            data = os.read(descriptor, 1 << 16)
            if not data or take(data):
                return True
    return False


def _complain(work: Path) -> None:
    for name in ("console", "qemu.log", f"{_ROOT}.log", f"{_PROJECT}.log"):
        path = work / name
        tail = path.read_text(errors="replace").splitlines()[-20:] if path.exists() else []
        for line in tail:
            print(f"guest: {name}: {line}", file=sys.stderr)
    print("guest: ended without a status", file=sys.stderr)


def _unpack(packed: bytes, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(fileobj=io.BytesIO(packed), mode="r:gz") as archive:
        archive.extractall(folder, filter="data")


def _percent(text: str) -> int:
    number = int(text)
    if not 1 <= number <= FULL:
        raise argparse.ArgumentTypeError(f"{text} is not 1 to {FULL}")
    return number


def _root(suite: str | None) -> Path:
    if suite is None:
        return Path("/")
    return roots.ready(roots.SUITES[suite], ROOTS, lambda text: print(f"guest: {text}", flush=True))


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line and run the command in a guest."""
    parser = argparse.ArgumentParser(prog="ovn_ipsec.lab.guest", description="Run in a guest.")
    parser.add_argument("--mem", type=int, default=4, metavar="GIB")
    parser.add_argument("--cpus", type=int, default=2)
    parser.add_argument("--timeout", type=float, default=600, metavar="SECONDS")
    parser.add_argument("--artefacts", type=Path, metavar="DIR")
    parser.add_argument("--interactive", action="store_true", help="connect standard input")
    parser.add_argument("--kvm", action="store_true", help="use KVM, where it works")
    speed = "run the guest's processors for this part of the time"
    parser.add_argument("--speed", type=_percent, default=FULL, metavar="PERCENT", help=speed)
    booted = "set the command's clocks back to a second after the start of its kernel"
    parser.add_argument("--just-booted", action="store_true", help=booted)
    suite = "the root and kernel of this Debian, made if it is not there"
    parser.add_argument("--suite", choices=roots.SUITES, help=suite)
    parser.add_argument("--anywhere", action="store_true", help="on this kernel if it can")
    parser.add_argument("command", nargs="+")
    given = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        root = _root(given.suite)
    except LabError as error:
        print(f"guest: {error}", file=sys.stderr)
        return GUEST_FAILED
    options = GuestOptions(
        mem_gib=given.mem,
        cpus=given.cpus,
        timeout=given.timeout,
        kvm=given.kvm,
        speed=given.speed,
        just_booted=given.just_booted,
        interactive=given.interactive,
        artefacts=given.artefacts,
        root=root,
    )
    try:
        return (run_anywhere if given.anywhere else run_in_guest)(given.command, options)
    except GuestError as error:
        print(f"guest: {error}", file=sys.stderr)
        return GUEST_FAILED
