# SPDX-License-Identifier: Apache-2.0
"""The file with the shared keys of our connections, which pluto includes.

Pure. Input: its text, and keys. Output: its text. pluto signs with the first key that it finds for
two ends and takes no other from the peer, so there is one for each two ends; the ids of all that
were given for them stand before it in a comment.

Source: ipsec.secrets(5).
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from ovn_ipsec.errors import IkeError

from ...plan.connection import ConnConfig
from ...plan.credentials.proof import SharedKey

_HEAD = "# Written by ovn-ipsec-controller: what is changed here is lost.\n"
_END = re.compile(r"@[A-Za-z0-9._-]+\Z|[0-9a-f.:]+\Z", re.ASCII)
_ID = re.compile(r"[A-Za-z0-9._:-]+\Z", re.ASCII)
_COMMENT = re.compile(r"# keys (.*)\Z")
_SECRET = re.compile(r"(\S+) (\S+) : PSK 0x([0-9a-f]+)\Z")


@dataclass(frozen=True, slots=True)
class Entry:
    """What two ends know of each other."""

    ids: tuple[str, ...]
    """Of all keys that were given, the one that is used first."""
    value: str
    """The key, in hex."""

    def __repr__(self) -> str:
        """Hide the key."""
        return f"Entry({self.ids!r}, ...)"


Ends = tuple[str, str]
Entries = dict[Ends, Entry]


def entry(conn: ConnConfig, keys: Iterable[SharedKey], *, plain: bool) -> tuple[Ends, Entry]:
    """Make the entry of a connection.

    Args:
        conn: The connection.
        keys: Its keys, the one to use first.
        plain: Whether the ends are known by their addresses.

    Raises:
        IkeError: A value cannot stand in the file.
    """
    found = tuple(keys)
    ends = (f"@{conn.local_id}", f"@{conn.remote_id}")
    if plain:
        ends = (str(conn.pair.local), str(conn.pair.remote))
    ids = tuple(key.id for key in found)
    if not all(map(_END.match, ends)) or not all(map(_ID.match, ids)):
        raise IkeError(f"{conn.name}: its ends cannot be written into a file of Libreswan")
    return ends, Entry(ids, found[0].value.reveal().hex())


def without(entries: Entries, key_id: str) -> Entries:
    """Take a key away; if it is the one in use, its ends have none any more."""
    kept = {
        ends: Entry(tuple(one for one in found.ids if one != key_id), found.value)
        for ends, found in entries.items()
    }
    return {ends: found for ends, found in kept.items() if found.ids[:1] == entries[ends].ids[:1]}


def all_ids(entries: Entries) -> frozenset[str]:
    """The ids of all keys."""
    return frozenset(key_id for found in entries.values() for key_id in found.ids)


def format_entries(entries: Entries) -> str:
    """Write the file."""
    return _HEAD + "".join(
        f"# keys {' '.join(found.ids)}\n{local} {remote} : PSK 0x{found.value}\n"
        for (local, remote), found in sorted(entries.items())
    )


def parse_entries(text: str) -> Entries:
    """Read the file as it was written; lines of another form are dropped."""
    entries: Entries = {}
    ids: tuple[str, ...] = ()
    for line in text.split("\n"):
        comment, secret = _COMMENT.match(line), _SECRET.match(line)
        if comment is not None:
            ids = tuple(filter(_ID.match, comment[1].split()))
        elif secret is not None and ids:
            entries[secret[1], secret[2]] = Entry(ids, secret[3])
            ids = ()
    return entries
