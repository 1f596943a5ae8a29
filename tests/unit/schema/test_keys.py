# SPDX-License-Identifier: Apache-2.0
"""The reference of keys: it has those that the code reads and writes, and no others."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from ipaddress import IPv4Address
from pathlib import Path
from uuid import UUID

import pytest

from controller.ike import messages
from controller.plan.ports import delegated, tunnels
from northd_ext.observe.views import STATE_PHASE
from ovn_ipsec.model.chassis import ChassisName, EncapType, Pair
from ovn_ipsec.model.key import Key, Party, one_of
from ovn_ipsec.model.policy import EncryptionPolicy, Phase
from ovn_ipsec.model.status import Digest, PairCounts, PairState, Room
from ovn_ipsec.policy import bindings
from ovn_ipsec.schema import encap, nb_global, open_vswitch, port, report, sb_global, tuning

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "reference" / "keys.md"
MODULES = (nb_global, sb_global, encap, report, open_vswitch, port, bindings)
KEYS = [key for module in MODULES for key in module.DOCUMENTED]
PROGRAMS = {"ovn-ipsec", "ovn-ipsec-northd", "ovn-ipsec-controller", "ovn-ipsec-guard"}
"""Programs and units, whose names look like keys."""


class Asked(dict[str, str]):
    """A column that notes which keys it is asked for."""

    def __init__(self, there: dict[str, str] | None = None) -> None:
        super().__init__(there or {})
        self.keys_asked: set[str] = set()

    def get(self, key, default=None):
        """As of any mapping."""
        self.keys_asked.add(key)
        return super().get(key, default)

    def __getitem__(self, key) -> str:
        self.keys_asked.add(key)
        return super().__getitem__(key)

    def __contains__(self, key) -> bool:
        self.keys_asked.add(key)
        return super().__contains__(key)


def named(column: str) -> set[str]:
    return {key.name for key in KEYS if key.column == column}


def examples(column: str) -> dict[str, str]:
    return {key.name: key.example for key in KEYS if key.column == column}


def titles() -> list[str]:
    """Column and key of every heading of the page."""
    return re.findall(r"^### `(.*)`$", PAGE.read_text("utf-8"), re.MULTILINE)


def test_the_page_has_every_key_and_no_other():
    expected = [f"{key.column}:{key.name}" if key.name else key.column for key in KEYS]
    assert sorted(expected) == sorted(titles())


@pytest.mark.parametrize("key", KEYS, ids=lambda key: f"{key.column}:{key.name}")
def test_everything_is_said_of_a_key(key: Key):
    """No part of it is left out, and where the page says that there is more there is a page."""
    assert key.meaning.endswith(".")
    assert key.values
    assert key.default
    assert key.readers
    assert key.example or "may be empty" in key.values
    page, _, anchor = key.page.partition("#")
    text = (ROOT / "docs" / page).read_text("utf-8") if page else ""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    slugs = {re.sub(r"[^a-z0-9_ -]", "", line.lower()).replace(" ", "-") for line in headings}
    assert not anchor or anchor in slugs


def literals(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def test_a_key_of_ours_in_the_code_is_on_the_page():
    """Wherever it stands: who adds one and forgets to document it is told here."""
    sources = [
        p for d in ("ovn_ipsec", "controller", "northd_ext") for p in (ROOT / d).rglob("*.py")
    ]
    found = {
        text
        for path in sources
        if "lab" not in path.parts
        for text in literals(path)
        if re.fullmatch(r"ovn-ipsec(-[a-z]+)*", text)
    }
    assert found - PROGRAMS <= {key.name for key in KEYS}


def test_what_is_asked_of_bindings_is_on_the_page():
    options, ids = Asked(), Asked()
    raw = bindings.RawBinding(datapath=UUID(int=1), port="p", options=options)
    bindings.parse_binding(raw, {})
    bindings.parse_datapath(1, ids)
    assert options.keys_asked == named("Port_Binding.options")
    assert ids.keys_asked == named("Datapath_Binding.external_ids")


@pytest.mark.parametrize(
    "key", [key for key in KEYS if key.column == "NB_Global.options"], ids=lambda key: key.name
)
def test_the_example_of_an_option_is_taken(key: Key):
    """An option that is unknown, or junk, would be an error."""
    name = key.name.replace("<priority>", "100")
    assert nb_global.parse_policy(True, {name: key.example}).errors == ()


def test_the_options_asked_for_are_on_the_page():
    options = Asked()
    nb_global.parse_policy(True, options)
    stock = {nb_global.STOCK_PREFIX + name for name in (*tuning.RANGES, *tuning.SWITCHES)}
    rule = "ovn-ipsec-rule-<priority>"
    assert options.keys_asked | stock | {rule} == named("NB_Global.options")


def test_what_northd_reports_is_on_the_page():
    assert set(nb_global.REPORT_KEYS) == named("NB_Global.external_ids")


def test_the_policy_of_the_southbound_is_on_the_page():
    """All keys together, each with its example, are a policy."""
    column = Asked(examples("SB_Global.external_ids"))
    assert sb_global.parse_policy(column) is not None
    assert column.keys_asked == named("SB_Global.external_ids") == set(sb_global.KEYS)


def test_what_is_asked_of_an_encap_is_on_the_page():
    options = Asked(examples("Encap.options"))
    raw = encap.RawEncap(type="geneve", ip="192.0.2.1", options=options)
    intent, errors = encap.parse_encap("hv1", raw)
    assert errors == ()
    assert intent is not None
    assert options.keys_asked == named("Encap.options")


def test_what_is_asked_of_a_chassis_is_on_the_page():
    column = Asked(examples("Chassis.other_config"))
    parsed = encap.parse_chassis(encap.RawChassis(name="hv1", other_config=column, encaps=()))
    assert parsed.errors == ()
    assert encap.availability_zones(column) == frozenset({"az1"})
    assert column.keys_asked == named("Chassis.other_config")


def test_a_report_is_on_the_page():
    column = examples("Chassis_Private.external_ids")
    digest = report.parse_digest("hv1", column)
    assert digest is not None
    full = Digest(
        generation=1,
        phase=Phase.OFF,
        agent="x",
        problem="x",
        warning="x",
        expires=datetime(2027, 1, 1, tzinfo=UTC),
        across=PairCounts(encrypted=1),
        room=Room(underlay=1500, inner=1408),
    )
    assert {*report.format_digest(full), report.REQUEST, report.ANSWER} == set(column)


def test_what_is_asked_of_the_local_database_is_on_the_page():
    """Besides what only the makers of tunnel ports ask for."""
    ids = Asked(examples("Open_vSwitch.external_ids"))
    config = Asked(examples("Open_vSwitch.other_config"))
    parsed = open_vswitch.parse_local(ids, config, None)
    assert parsed.errors == ()
    plain = {key for key in ids.keys_asked if not key.endswith("-hv1")}
    ports = {open_vswitch.SET_LOCAL_IP, open_vswitch.BRIDGE_REMOTE}
    assert plain | ports == named("Open_vSwitch.external_ids")
    index = f"{open_vswitch.CHASSIS_INDEX}<chassis>"
    assert config.keys_asked | {index} == named("Open_vSwitch.other_config")


def test_the_options_of_a_port_are_on_the_page():
    """A pair and settings that need all of them."""
    stock = {port.IPSEC_PREFIX + name: "true" for name in tuning.SWITCHES}
    settings = tunnels.PortSettings(
        ipsec=True, sb_options=stock, tos="inherit", df_default="false", set_local_ip=True
    )
    pair = Pair(
        peer=ChassisName("hv2"),
        type=EncapType.GENEVE,
        local=IPv4Address("192.0.2.1"),
        remote=IPv4Address("192.0.2.2"),
        out_port=6082,
        in_port=6081,
    )
    (wanted,) = tunnels.wanted_ports([(pair, True)], settings)
    pins = delegated.PinPaths(of_peer={pair.peer: ["a path"]}, in_use=())
    (other,) = delegated.delegated_ports([(pair, True, PairState.BLOCKED)], settings, pins)
    assert {*dict(wanted.options), *dict(other.options)} == named("Interface.options")


def test_the_defaults_are_those_of_the_code():
    stated = EncryptionPolicy(enabled=True)
    told = {key.name: key.default for key in KEYS if key.column == "NB_Global.options"}
    for name in ("mode", "rollout", "auth", "profile"):
        assert told[f"ovn-ipsec-{name}"] == f"`{getattr(stated, name)}`"
    assert told["ipsec_replay-window"] == str(messages.REPLAY_WINDOW)
    assert told["ipsec_dpd-delay"] == f"{messages.DPD_DELAY_S} s"
    assert told["ipsec_salifetime"] == f"{messages.ESP_LIFETIME_S} s"
    assert told["ipsec_ikelifetime"] == f"{messages.IKE_LIFETIME_S} s"


def test_the_states_are_those_that_northd_knows():
    assert set(nb_global.STATES) == set(STATE_PHASE)


def test_words_are_listed_as_people_do():
    assert one_of(["a"]) == "`a`"
    assert one_of(["a", "b", "c"]) == "`a`, `b` or `c`"


def test_the_path_is_what_a_command_takes():
    key = KEYS[0]
    assert (key.column, key.path) == ("NB_Global.ipsec", "ipsec")
    assert KEYS[1].path == "options:ovn-ipsec-mode"
    assert {key.writer for key in KEYS} <= set(Party)
