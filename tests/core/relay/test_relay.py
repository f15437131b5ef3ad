"""One attempt's answer: what goes on, when it is cut, and how it ended."""

from hypothesis import given
from hypothesis import strategies as st

from harmost.core.providers.codec import Ended, Event, ProviderError, TextDelta, UsageReported
from harmost.core.relay.relay import TOKEN_BYTES_MAX, Relay, RelayLimits
from harmost.core.usage import TokenUsage

BROKEN = ProviderError(kind="broken", message="cut")


def relay(tokens_max: int = 100, *, shortened: bool = False) -> Relay:
    return Relay(RelayLimits(output_tokens_max=tokens_max, shortened=shortened))


def deltas(*texts: str) -> list[Event]:
    return [TextDelta(text) for text in texts]


def test_text_goes_on_in_order_and_is_kept() -> None:
    one = relay()
    assert one.feed(deltas("a", "", "b")) == ["a", "b"]
    assert one.feed([*deltas("c"), Ended("stop", "id-1")]) == ["c"]
    assert (one.text, one.deltas, one.finish_reason, one.response_id) == ("abc", 3, "stop", "id-1")


def test_a_later_usage_replaces_an_earlier_one() -> None:
    one = relay()
    one.feed([UsageReported(TokenUsage(input_tokens=1)), UsageReported(TokenUsage(input_tokens=2))])
    assert one.usage == TokenUsage(input_tokens=2)


def test_what_follows_the_end_is_ignored_but_its_usage() -> None:
    one = relay()
    one.feed([Ended("stop")])
    assert one.feed([*deltas("late"), BROKEN, UsageReported(TokenUsage(output_tokens=7))]) == []
    assert one.error is None
    assert one.usage == TokenUsage(output_tokens=7)


def test_length_means_the_budget_where_the_budget_shortened_the_answer() -> None:
    whole, short = relay(), relay(shortened=True)
    whole.feed([Ended("length")])
    short.feed([Ended("length")])
    assert (whole.finish_reason, short.finish_reason) == ("length", "budget_exhausted")
    assert not short.cut


def test_a_provider_that_ignores_its_cap_is_cut_at_the_hold() -> None:
    one = relay(3)
    assert one.feed(deltas("a", "b", "c", "d", "e")) == ["a", "b", "c"]
    assert (one.finish_reason, one.cut, one.done) == ("budget_exhausted", True, True)


def test_a_provider_that_packs_many_tokens_into_one_piece_is_cut_by_bytes() -> None:
    one = relay(2)
    assert one.feed(deltas("x" * (2 * TOKEN_BYTES_MAX + 1))) == []
    assert one.cut


def test_an_error_ends_it_once() -> None:
    one = relay()
    one.fail(BROKEN)
    one.feed([Ended("stop")])
    one.fail(ProviderError(kind="stalled", message="later"))
    assert (one.error, one.finish_reason) == (BROKEN, None)


EVENTS = st.lists(
    st.one_of(
        st.text(max_size=80).map(TextDelta),
        st.sampled_from([BROKEN, Ended("stop"), Ended("length")]),
        st.integers(0, 9).map(lambda n: UsageReported(TokenUsage(output_tokens=n))),
    ),
    max_size=30,
)


@given(EVENTS, st.integers(1, 8), st.integers(0, 30))
def test_how_events_are_batched_changes_nothing(
    events: list[Event], tokens_max: int, cut: int
) -> None:
    whole, parted = relay(tokens_max), relay(tokens_max)
    texts = whole.feed(events)
    assert parted.feed(events[:cut]) + parted.feed(events[cut:]) == texts
    assert (parted.finish_reason, parted.error, parted.usage) == (
        whole.finish_reason,
        whole.error,
        whole.usage,
    )


@given(EVENTS, st.integers(1, 8))
def test_what_goes_on_always_fits_the_hold(events: list[Event], tokens_max: int) -> None:
    one = relay(tokens_max)
    texts = one.feed(events)
    assert len(texts) <= tokens_max
    assert one.text_bytes == len("".join(texts).encode()) <= tokens_max * TOKEN_BYTES_MAX
