# SPDX-License-Identifier: Apache-2.0
"""XFRM messages: round trips, layouts, and bytes that are no message."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.guard.xfrm import MARK, PRIORITY_ALLOW, is_ours
from controller.xfrm import messages
from controller.xfrm.values import (
    NO_EVENTS,
    Action,
    Mode,
    PolicyDirection,
    Selector,
    Template,
    XfrmEvents,
    XfrmPolicy,
    XfrmState,
)

u16 = st.integers(min_value=0, max_value=0xFFFF)
u32 = st.integers(min_value=0, max_value=0xFFFF_FFFF)
u8 = st.integers(min_value=0, max_value=0xFF)


@st.composite
def policies(draw: st.DrawFn) -> XfrmPolicy:
    """Draw a policy of one family."""
    version = draw(st.sampled_from((4, 6)))
    address = st.ip_addresses(v=4) if version == 4 else st.ip_addresses(v=6)
    network = st.builds(
        lambda ip, length: (
            IPv4Network((int(ip), length), strict=False)
            if version == 4
            else IPv6Network((int(ip), length), strict=False)
        ),
        address,
        st.integers(min_value=0, max_value=32 if version == 4 else 128),
    )
    selector = st.builds(
        Selector,
        src=network,
        dst=network,
        proto=u8,
        sport=u16,
        sport_mask=u16,
        dport=u16,
        dport_mask=u16,
        user=u32,
    )
    template = st.builds(
        Template,
        src=address,
        dst=address,
        proto=u8,
        spi=u32,
        reqid=u32,
        mode=st.sampled_from(Mode),
    )
    return draw(
        st.builds(
            XfrmPolicy,
            direction=st.sampled_from(PolicyDirection),
            selector=selector,
            priority=u32,
            action=st.sampled_from(Action),
            templates=st.lists(template, max_size=3).map(tuple),
        )
    )


@given(policy=policies())
def test_policy_round_trip(policy: XfrmPolicy) -> None:
    """What is written is read."""
    assert policy == messages.parse_policy(messages.format_policy(policy))


@given(policy=policies(), cut=st.integers(min_value=0, max_value=167))
def test_short_policy_is_refused(policy: XfrmPolicy, cut: int) -> None:
    """Bytes that end too early are no policy."""
    with pytest.raises(ValueError, match="no xfrm"):
        messages.parse_policy(messages.format_policy(policy)[:cut])


def sa_bytes() -> bytes:
    """A struct xfrm_usersa_info."""
    address = bytes((10, 9, 0, 1)).ljust(16, b"\0")
    other = bytes((10, 9, 0, 2)).ljust(16, b"\0")
    counts = (900, 9, 1_764_295_200)
    return messages.STATE.pack(other, b"\0\0\1\2", 50, address, *counts, 0, 7, 2, 0, 32, 0)


def test_what_an_sa_came_to_is_read_where_the_kernel_deletes_it() -> None:
    """Behind its identity in XFRMA_SA, or in front of a flag that says that it is gone."""
    sa, kind = sa_bytes(), messages.Kind
    marked = messages.ATTRIBUTE.pack(8, 21) + bytes(4)
    body = messages.ATTRIBUTE.pack(messages.ATTRIBUTE.size + len(sa), 6) + sa
    deleted = bytes(messages.STATE_ID.size) + marked + body
    expected = messages.parse_state(sa)
    for found in (
        messages.parse_ended(kind.DELETE_SA, deleted),
        messages.parse_ended(kind.EXPIRE, sa + b"\1" + bytes(7)),
    ):
        assert found == expected
        assert (found.bytes, found.packets) == (900, 9)


def test_no_other_message_tells_what_an_sa_came_to() -> None:
    """One that expires soon is still there, and a deletion may be told without the SA."""
    kind = messages.Kind
    assert messages.parse_ended(kind.EXPIRE, sa_bytes() + bytes(8)) is None
    assert messages.parse_ended(kind.DELETE_SA, bytes(messages.STATE_ID.size)) is None
    assert messages.parse_ended(kind.NEW_SA, sa_bytes()) is None


def test_state_is_parsed() -> None:
    """The fields of an SA stand where the kernel puts them."""
    payload = sa_bytes()
    expected = XfrmState(
        src=IPv4Address("10.9.0.1"),
        dst=IPv4Address("10.9.0.2"),
        spi=258,
        proto=50,
        reqid=7,
        mode=Mode.TRANSPORT,
    )
    found = messages.parse_state(payload)
    assert expected == found
    assert (900, 9, 1_764_295_200) == (found.bytes, found.packets, found.made_at)
    request = messages.delete_state(expected)
    assert request.payload[16:20] == b"\0\0\1\2"


def test_short_state_is_refused() -> None:
    """Bytes that end too early are no SA."""
    with pytest.raises(ValueError, match="no xfrm_usersa_info"):
        messages.parse_state(b"")


def test_struct_sizes() -> None:
    """The sizes are those of sizeof() on a 64-bit kernel."""
    sizes = (
        messages.SELECTOR.size,
        messages.SELECTOR.size + messages.POLICY.size,
        messages.SELECTOR.size + messages.POLICY_ID.size,
        messages.TEMPLATE.size,
        messages.STATE.size,
        messages.STATE_ID.size,
    )
    assert sizes == (56, 168, 64, 64, 224, 24)


def test_events_add_up() -> None:
    """Known kinds are noted, unknown ones are nothing."""
    seen = messages.add_event(NO_EVENTS, messages.Kind.FLUSH_POLICY)
    seen = messages.add_event(seen, messages.Kind.FLUSH_POLICY)
    seen = messages.add_event(seen, 0x7F)
    assert seen == XfrmEvents(policies_flushed=True)


@given(policy=policies())
def test_requests_carry_the_selector(policy: XfrmPolicy) -> None:
    """An update holds the whole policy, a deletion its key."""
    update, delete = messages.update_policy(policy), messages.delete_policy(policy)
    assert (messages.Kind.UPDATE_POLICY, messages.Kind.DELETE_POLICY) == (update.kind, delete.kind)
    assert policy == messages.parse_policy(update.payload)
    selector = messages.format_selector(policy.selector)
    assert delete.payload.startswith(selector)
    assert len(delete.payload) == len(selector) + messages.POLICY_ID.size


def test_questions_have_the_sizes_that_the_kernel_checks() -> None:
    """A dump and the probe carry an empty structure of the right kind."""
    asked = (messages.dump_policies(), messages.dump_states(), messages.probe())
    sizes = (messages.SELECTOR.size + messages.POLICY_ID.size, messages.STATE_ID.size, 4)
    assert sizes == tuple(len(request.payload) for request in asked)


@given(policy=policies())
def test_attribute_shorter_than_its_header_is_refused(policy: XfrmPolicy) -> None:
    """Such a message would be read for ever."""
    payload = messages.format_policy(policy)
    fixed = messages.SELECTOR.size + messages.POLICY.size
    with pytest.raises(ValueError, match="shorter than its header"):
        messages.parse_policy(payload[:fixed] + b"\x01\x00\x05\x00")


STRANGE = policies().flatmap(
    lambda policy: st.builds(
        replace,
        st.just(policy),
        direction=u8.map(PolicyDirection),
        action=u8.map(Action),
        templates=st.tuples(
            st.builds(
                Template,
                src=st.just(policy.selector.src.network_address),
                dst=st.just(policy.selector.dst.network_address),
                proto=u8,
                spi=u32,
                reqid=u32,
                mode=u8.map(Mode),
            )
        ),
    )
)


@given(policy=STRANGE)
def test_whatever_numbers_somebody_else_uses_are_read(policy: XfrmPolicy) -> None:
    """Kept as they are, so that nothing is left out of the audit; and they are never ours."""
    found = messages.parse_policy(messages.format_policy(policy))
    assert policy == found
    assert not is_ours(replace(found, selector=replace(found.selector, user=MARK)))


def test_a_policy_of_an_action_without_a_name_is_not_ours() -> None:
    """Although all else of it is as ours."""
    ours = XfrmPolicy(
        direction=PolicyDirection.OUT,
        selector=Selector(
            src=IPv4Network("10.9.0.1/32"), dst=IPv4Network("10.9.0.2/32"), proto=17, user=MARK
        ),
        priority=PRIORITY_ALLOW,
        action=Action.ALLOW,
    )
    assert is_ours(ours)
    assert not is_ours(replace(ours, action=Action(7)))


@pytest.mark.parametrize("value", [-1, 256, "transport"])
def test_what_no_octet_can_hold_is_no_number_of_the_kernel(value: object) -> None:
    """A slip of ours is still found."""
    with pytest.raises(ValueError, match="is not a valid"):
        Mode(value)


@given(policy=policies())
def test_what_asks_for_an_sa_names_policy_and_ends(policy: XfrmPolicy) -> None:
    """In the struct that the kernel passes on."""
    ends = IPv4Address("10.9.0.1"), IPv4Address("10.9.0.2")
    request = messages.acquire(policy, ends)
    assert request.kind is messages.Kind.ACQUIRE
    remote, spi, proto, local = messages.ACQUIRE_ID.unpack_from(request.payload)
    assert (remote[:4], spi, proto, local[:4]) == (ends[1].packed, bytes(4), 50, ends[0].packed)
    head, size = messages.ACQUIRE_ID.size, messages.SELECTOR.size
    end = head + 2 * size + messages.POLICY.size
    assert messages.parse_selector(request.payload[head:]) == policy.selector
    told = request.payload[head + size : end] + request.payload[end + messages.ACQUIRE_END.size :]
    assert messages.parse_policy(told) == policy
    assert end + messages.ACQUIRE_END.size == 280
