# SPDX-License-Identifier: Apache-2.0
"""Hooks of MkDocs: the pages of docs/ are written for a code host, and shown as they are there.

MkDocs differs in three things. Python-Markdown wants what belongs to an item of a list indented by
four columns, where CommonMark goes by the width of the marker, and a blank line before a list and
a table. It knows no page outside docs/. And its navigation names every page.
"""

from __future__ import annotations

import logging
import os.path
import re
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

ROOT = Path(__file__).parents[1]
BESIDE = {
    "CONTRIBUTING.md": "project/contributing.md",
    "CHANGELOG.md": "project/changelog.md",
    "SECURITY.md": "project/security.md",
}
"""Pages beside docs/: where they are on the site."""
COLUMNS = 4
_MARKER = re.compile(r"(?:[-*+]|[0-9]{1,9}[.)]) +")
_FENCE = re.compile(r"(`{3,}|~{3,})")
_LINK = re.compile(r"(?<=\]\()([^()\s#:]+)(?=[)#])")
_log = logging.getLogger("mkdocs.hooks.docs_site")


def on_config(config: Any) -> Any:
    """Complete the navigation."""
    decisions = sorted((Path(config.docs_dir) / "decisions").glob("*.md"))
    config.nav.append({"Decisions": [f"decisions/{page.name}" for page in decisions]})
    config.nav.append({"Project": list(BESIDE.values())})
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add the pages beside docs/, and the style."""
    from mkdocs.structure.files import File  # noqa: PLC0415 - only MkDocs has it

    for name, place in BESIDE.items():
        files.append(File.generated(config, place, content=(ROOT / name).read_text("utf-8")))
    style = (ROOT / "tools" / "docs_site.css").read_text("utf-8")
    files.append(File.generated(config, "site.css", content=style))
    return files


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Turn a page as a code host has it into what MkDocs takes."""
    place = page.file.src_uri
    source = next((name for name, at in BESIDE.items() if at == place), f"docs/{place}")
    lines = list(relinked(markdown.split("\n"), source, place))
    return "\n".join(indented(lines))


def is_fence(line: str, fence: str) -> str:
    """The fence that is open behind a line; empty when none is.

    Args:
        line: Without its indentation.
        fence: The one that is open before it.
    """
    found = _FENCE.match(line)
    if not fence:
        return found[1] if found else ""
    closes = found is not None and found[1].startswith(fence) and found[1] == line.rstrip()
    return "" if closes else fence


def relinked(lines: Iterable[str], source: str, place: str) -> Iterator[str]:
    """Point links to pages outside docs/ to where these are on the site, and warn of others.

    Args:
        lines: Of the page.
        source: The page's path in the repository.
        place: Its path on the site.
    """

    def target(found: re.Match[str]) -> str:
        path = os.path.normpath(str(PurePosixPath(source).parent / found[1]))
        there = BESIDE.get(path)
        if there is None and path.startswith("docs/"):
            there = path.removeprefix("docs/")
        if there is None:
            _log.warning("%s: the link to %s leads out of the site", source, found[1])
            return found[1]
        return os.path.relpath(there, str(PurePosixPath(place).parent))

    fence = ""
    for line in lines:
        was, fence = fence, is_fence(line.lstrip(" "), fence)
        yield line if was or fence else _LINK.sub(target, line)


def indented(lines: Iterable[str]) -> Iterator[str]:
    """Indent what belongs to an item of a list by four columns for each list."""
    offsets: list[int] = []
    """Where the text of each open item begins."""
    fence = before = ""
    for line in lines:
        text = line.lstrip(" ")
        if not text:
            before = ""
            yield ""
            continue
        column = len(line) - len(text)
        if not fence:
            while offsets and column < offsets[-1]:
                offsets.pop()
        offset = min(offsets[-1] if offsets else 0, column)
        marker = None if fence else _MARKER.match(text)
        if before and not fence and _needs_room(before, text, in_list=bool(offsets)):
            yield ""
        was, fence = fence, is_fence(text, fence)
        yield " " * COLUMNS * len(offsets) + line[offset:]
        before = "```" if was and not fence else text
        if marker:
            offsets.append(column + len(marker[0]))


def _needs_room(before: str, text: str, *, in_list: bool) -> bool:
    """Whether a blank line has to stand between two lines."""
    if text.startswith("|"):
        return not before.startswith("|")
    if _MARKER.match(text):
        is_text = not _MARKER.match(before) and not in_list
        return is_text or before.startswith(("|", "```"))
    return False
