# SPDX-License-Identifier: Apache-2.0
"""ovn_ipsec.model.vlog: what vlog/set takes, what it refuses, and what vlog/list prints."""

from __future__ import annotations

import pytest

from ovn_ipsec.model import vlog
from ovn_ipsec.model.vlog import Setting, SpecError

MODULES = {"controller.chassis", "ovn_ipsec.service"}


def one(text: str, destination: str = "console") -> Setting:
    (setting,) = vlog.parse([text], MODULES, destination)
    return setting


@pytest.mark.parametrize(
    ("text", "module", "level"),
    [
        ("dbg", None, "dbg"),
        ("any:any:warn", None, "warn"),
        ("console:off", None, "off"),
        ("controller.chassis:info", "controller.chassis", "info"),
        ("err,console\tcontroller.chassis", "controller.chassis", "err"),
        ("ERR controller.chassis console", "controller.chassis", "err"),
        ("controller.chassis", "controller.chassis", "dbg"),
        ("console", None, "dbg"),
        ("::", None, "dbg"),
    ],
)
def test_words_stand_in_any_order_and_may_be_left_out(text: str, module: str | None, level: str):
    """As for every daemon of OVS; a level that is left out is dbg."""
    assert one(text) == Setting(module=module, level=level)


def test_no_word_sets_everything_to_dbg():
    """As in C, and as appctl's own help says."""
    assert vlog.parse([], MODULES, "file") == (Setting(module=None, level="dbg"),)


def test_settings_keep_their_order():
    """A later one may take back what an earlier one has set."""
    found = vlog.parse(["dbg", "controller.chassis:err"], MODULES, "file")
    assert [setting.module for setting in found] == [None, "controller.chassis"]


@pytest.mark.parametrize(
    ("text", "destination", "told"),
    [
        ("bridge:dbg", "console", 'no destination, level, or module "bridge"'),
        ("dbg:err", "console", "cannot specify multiple levels"),
        ("console:console", "console", "cannot specify multiple destinations"),
        ("ovn_ipsec.service:controller.chassis", "console", "cannot specify multiple modules"),
        ("syslog:dbg", "file", "nothing goes to syslog"),
        ("file:dbg", "console", "give one with --log-file"),
        ("console:dbg", "file", "lines go to the log file"),
        ("PATTERN:console:%m", "console", "a pattern cannot be set"),
        ("FACILITY:daemon", "console", "a facility cannot be set"),
    ],
)
def test_what_cannot_be_set_is_refused(text: str, destination: str, told: str):
    """With the reason, and nothing that stands before it is set either."""
    with pytest.raises(SpecError, match=told):
        vlog.parse(["dbg", text], MODULES, destination)


def test_levels_are_laid_out_as_by_ovs_vswitchd():
    """Below the same head; where no line goes, everything is off."""
    assert vlog.table({"session": "info", "chassis": "err"}, "file").splitlines() == [
        "                 console    syslog    file",
        "                 -------    ------    ------",
        "chassis            OFF        OFF        ERR",
        "session            OFF        OFF       INFO",
    ]


def test_long_names_move_the_columns_and_not_each_other():
    """Ours are longer than those of OVS."""
    head, _, short, long = vlog.table({"a": "dbg", "northd_ext.enrolment": "dbg"}, "console").split(
        "\n"
    )
    assert head.index("console") == 21
    assert short.index("DBG") == long.index("DBG") == 23
