"""What metadata says of a trace: taken where it is valid, else as if it were not there."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmost.core.otel.context import UNTRACED, Parent, parent_of, trace_context

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
VALID = f"00-{TRACE}-{SPAN}-01"


def test_a_valid_parent_is_taken_with_its_state() -> None:
    metadata = [("authorization", "Bearer k"), ("traceparent", VALID), ("tracestate", "a=1")]
    assert trace_context(metadata) == (VALID, "a=1")
    assert parent_of(VALID) == Parent(bytes.fromhex(TRACE), bytes.fromhex(SPAN), True)


def test_the_sampled_flag_is_the_lowest_bit() -> None:
    assert parent_of(f"00-{TRACE}-{SPAN}-02") == parent_of(f"00-{TRACE}-{SPAN}-00")
    assert parent_of(f"00-{TRACE}-{SPAN}-03") == parent_of(VALID)


@pytest.mark.parametrize(
    "malformed",
    [
        "",
        "00",
        VALID.upper(),
        VALID[:-1],
        VALID + "-more",  # version 00 has no more
        VALID + "0",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"01-{TRACE}-{SPAN}-01.more",
        f" {VALID}",
        f"00-{TRACE}-{SPAN}-0\u0661",  # a digit, but not an ASCII one
        VALID + "\n",
        b"\x00\x01",
    ],
)
def test_a_malformed_parent_counts_as_absent(malformed: str | bytes) -> None:
    assert trace_context([("traceparent", malformed), ("tracestate", "a=1")]) == UNTRACED
    assert isinstance(malformed, bytes) or parent_of(malformed) is None


def test_two_parents_count_as_none() -> None:
    assert trace_context([("traceparent", VALID), ("traceparent", VALID)]) == UNTRACED


def test_a_later_version_is_read_as_far_as_it_is_known() -> None:
    later = f"cc-{TRACE}-{SPAN}-01-what-the-future-brings"
    assert trace_context([("traceparent", later)]) == (VALID, "")


@pytest.mark.parametrize("state", ["a", "a=\x7f", "a=\u00e9", "a=" + "x" * 511, b"a=1"])
def test_a_malformed_state_is_left_out_and_its_parent_kept(state: str | bytes) -> None:
    assert trace_context([("traceparent", VALID), ("tracestate", state)]) == (VALID, "")


def test_states_in_several_headers_are_one_list() -> None:
    metadata = [("traceparent", VALID), ("tracestate", "a=1,b=2"), ("tracestate", "c=3")]
    assert trace_context(metadata) == (VALID, "a=1,b=2,c=3")


def test_a_state_without_a_parent_means_nothing() -> None:
    assert trace_context([("tracestate", "a=1")]) == UNTRACED


@given(st.text(alphabet=string.hexdigits + "-", max_size=60) | st.text(max_size=60))
def test_whatever_comes_is_valid_or_absent(text: str) -> None:
    parent, _ = trace_context([("traceparent", text)])
    assert (parent == "") == (parent_of(text) is None)
    assert parent == "" or (len(parent) == 55 and parent_of(parent) is not None)
