# SPDX-License-Identifier: Apache-2.0
"""The site shows the pages as a code host does."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


def load() -> ModuleType:
    """MkDocs takes the hooks from a file, too."""
    spec = importlib.util.spec_from_file_location("docs_site", ROOT / "tools" / "docs_site.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


site = load()


def indented(text: str) -> str:
    return "\n".join(site.indented(text.split("\n")))


def test_what_belongs_to_an_item_is_indented_by_four_for_each_list():
    """By the width of the marker it belongs to the item, whatever that is."""
    text = "1. One\n   more\n\n   - two\n     more\n\n10. Ten\n    more\n\nAfter"
    expected = "1. One\n    more\n\n    - two\n        more\n\n10. Ten\n    more\n\nAfter"
    assert indented(text) == expected


def test_code_keeps_its_own_indentation():
    """And nothing in it is a list or a table."""
    text = "- Run\n\n  ```\n  if x:\n    - y\n  | z\n  ```\n- Next\n"
    expected = "- Run\n\n    ```\n    if x:\n      - y\n    | z\n    ```\n\n- Next\n"
    assert indented(text) == expected


def test_a_table_and_a_list_get_room():
    text = "Text\n- a\n- b\n\nText\n| c |\n|---|\n| d |\n- e"
    assert indented(text) == "Text\n\n- a\n- b\n\nText\n\n| c |\n|---|\n| d |\n\n- e"


@pytest.mark.parametrize("fence", ["```", "~~~~"])
def test_a_fence_ends_with_its_like(fence: str):
    assert site.is_fence(f"{fence}console", "") == fence
    assert site.is_fence("text", fence) == fence
    assert site.is_fence(f"{fence}sh", fence) == fence
    assert site.is_fence("`" * 5 if fence == "```" else "~" * 5, fence) == ""


def relinked(line: str, source: str, place: str) -> str:
    return "\n".join(site.relinked(line.split("\n"), source, place))


@pytest.mark.parametrize(
    ("source", "place", "link", "expected"),
    [
        ("docs/index.md", "index.md", "../SECURITY.md", "project/security.md"),
        ("docs/howto/x.md", "howto/x.md", "../../CONTRIBUTING.md", "../project/contributing.md"),
        ("CONTRIBUTING.md", "project/contributing.md", "docs/index.md", "../index.md"),
        ("docs/howto/x.md", "howto/x.md", "y.md#z", "y.md#z"),
        ("docs/howto/x.md", "howto/x.md", "https://example.org/", "https://example.org/"),
        ("docs/howto/x.md", "howto/x.md", "#here", "#here"),
    ],
)
def test_a_link_leads_to_where_the_page_is(source: str, place: str, link: str, expected: str):
    assert relinked(f"See [it]({link}).", source, place) == f"See [it]({expected})."


def test_a_link_in_code_stays(caplog: pytest.LogCaptureFixture):
    text = "```\n[x](../../setup.cfg)\n```"
    assert relinked(text, "docs/howto/x.md", "howto/x.md") == text
    assert caplog.records == []


def test_a_link_out_of_the_site_is_a_warning(caplog: pytest.LogCaptureFixture):
    """Which a strict build fails for."""
    relinked("[x](../../setup.cfg)", "docs/howto/x.md", "howto/x.md")
    (record,) = caplog.records
    assert "docs/howto/x.md: the link to ../../setup.cfg leads out" in record.getMessage()
