# SPDX-License-Identifier: Apache-2.0
"""The contract of IkeBackend, on the fake."""

from __future__ import annotations

import pytest

from controller.ike.backend import IkeBackend
from ovn_ipsec.errors import IkeError
from ovn_ipsec.model.observation import Unknown
from tests.contracts.ike_backend import IkeBackendContract, config, seen
from tests.fakes.ike import FakeIke


class TestFakeIke(IkeBackendContract):
    """The contract, and what the fake does beyond it."""

    @pytest.fixture
    def ike(self) -> FakeIke:
        """Give a fake."""
        return FakeIke()

    def test_it_is_a_backend(self, ike: FakeIke):
        """Mypy checks the same where the fake is used."""
        backend: IkeBackend = ike
        assert backend is ike

    def test_it_brings_a_pair_up_on_one_ike_sa(self, opened: FakeIke):
        """Both children, each once."""
        conn = config()
        opened.load(conn)
        for child in ("out", "in", "out"):
            opened.initiate(conn.name, child)
        (sa,) = seen(opened.observe_sas(conn.name))
        assert [child.name for child in sa.children] == ["out", "in"]
        assert opened.up(conn.name) == {"out", "in"}

    def test_a_rekeyed_child_has_another_spi(self, opened: FakeIke):
        """And is still up."""
        conn = config()
        opened.load(conn)
        opened.initiate(conn.name, "out")
        before = seen(opened.observe_sas(conn.name))[0].children[0]
        opened.rekey_child(before.id)
        after = seen(opened.observe_sas(conn.name))[0].children[0]
        assert before.spi_in != after.spi_in
        opened.terminate_child(after.id)
        assert opened.up(conn.name) == frozenset()

    def test_it_fails_on_request(self, opened: FakeIke):
        """Once each."""
        opened.fail_next("observe")
        assert isinstance(opened.observe(), Unknown)
        opened.fail_next("load")
        with pytest.raises(IkeError):
            opened.load(config())
        opened.load(config())

    def test_a_refused_attempt_has_a_reason(self, opened: FakeIke):
        """And no IKE_SA."""
        conn = config()
        opened.load(conn)
        opened.refuses[conn.name] = "received AUTHENTICATION_FAILED notify error"
        opened.initiate(conn.name, "out")
        assert opened.drain().messages == ((conn.name, opened.refuses[conn.name]),)
        assert seen(opened.observe_sas(conn.name)) == ()

    def test_a_silent_peer_leaves_one_attempt(self, opened: FakeIke):
        """CONNECTING, however often it is asked."""
        conn = config()
        opened.load(conn)
        opened.answers = False
        opened.initiate(conn.name, "out")
        opened.initiate(conn.name, "out")
        assert [sa.state for sa in seen(opened.observe_sas(conn.name))] == ["CONNECTING"]

    def test_a_crash_forgets_everything(self, opened: FakeIke):
        """The next one is told apart by when it started."""
        opened.load(config())
        before = seen(opened.observe()).since
        opened.crash()
        assert isinstance(opened.observe(), Unknown)
        with pytest.raises(IkeError):
            opened.open()
        opened.start()
        opened.open()
        after = seen(opened.observe())
        assert after.conns == frozenset()
        assert after.since != before
        assert opened.drain().lost

    def test_a_lost_session_keeps_the_daemon(self, opened: FakeIke):
        """Only the sessions end."""
        opened.load(config())
        opened.disconnect()
        assert not opened.connected
        opened.open()
        assert seen(opened.observe()).conns
