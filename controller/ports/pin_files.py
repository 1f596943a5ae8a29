# SPDX-License-Identifier: Apache-2.0
"""Edge (files): the certificates of peers, where ovs-monitor-ipsec and its IKE daemon read them.

What the files are called depends on what they hold, so no row can choose that, and none is written
twice.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from ssl import DER_cert_to_PEM_cert

from ovn_ipsec.pki import files

FOLDER = Path("/etc/ipsec.d/ovn-ipsec")
"""AppArmor and SELinux let the IKE daemons read there."""
_SUFFIX = ".pem"


class PinFiles:
    """The files of one folder, which is ours."""

    def __init__(self, folder: Path) -> None:
        """Store where it is; it is made with the first file."""
        self._folder = folder
        self._there: set[str] | None = None
        """Paths of our files; None: not looked yet."""

    def path(self, der: bytes) -> str:
        """Say where a certificate is, or would be."""
        return str(self._folder / f"{sha256(der).hexdigest()}{_SUFFIX}")

    def write(self, certificates: Iterable[bytes]) -> None:
        """Write those that are not there yet, DER.

        Raises:
            PkiError: One cannot be written, or the folder is not private.
        """
        for der in certificates:
            path = self.path(der)
            if self._there is not None and path in self._there:
                continue
            files.make_folder(self._folder)
            files.write(Path(path), DER_cert_to_PEM_cert(der).encode("ascii"), files.PUBLIC)
            self._known().add(path)

    def keep_only(self, paths: Collection[str]) -> None:
        """Delete the others; one that cannot be deleted harms nobody, and is tried again."""
        for path in sorted(self._known().difference(paths)):
            with suppress(OSError):
                Path(path).unlink(missing_ok=True)
                self._known().discard(path)

    def _known(self) -> set[str]:
        if self._there is None:
            self._there = {str(path) for path in self._folder.glob(f"*{_SUFFIX}")}
        return self._there
