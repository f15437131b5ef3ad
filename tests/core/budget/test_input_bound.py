"""Media are bounded by what their model says, or denied under a hard ceiling."""

import pytest

from harmost.core.budget.input_bound import MediaBound, check_bound, media_bound
from harmost.core.budget.nodes import BudgetLimit, compile_limits
from harmost.core.chat import Media, Message, Text
from harmost.core.errors import BudgetExhausted
from harmost.core.resources.kinds import BudgetSpec, Limit, Metadata

IMAGE = Media(kind="image", uri="https://example.com/a.png")
FILE = Media(kind="file", file_id="f")
SEEN = (Message("user", (Text("see"), IMAGE, IMAGE)), Message("user", (FILE,)))


def limits(**limit: object) -> tuple[BudgetLimit, ...]:
    spec = BudgetSpec(limits=(Limit(window="day", **limit),))  # type: ignore[arg-type]
    return compile_limits({"b": (Metadata(name="b", tenant="acme"), spec)}).all


def test_words_alone_need_no_bound() -> None:
    assert media_bound((Message.of("user", "hi"),), {}) == MediaBound()


def test_each_picture_counts_as_much_as_its_model_says() -> None:
    assert media_bound(SEEN, {"image": 1_600, "file": 9}) == MediaBound(3_209)


def test_what_its_model_does_not_bound_is_named() -> None:
    assert media_bound(SEEN, {"image": 1_600}) == MediaBound(3_200, ("file",))
    assert media_bound(SEEN, {}) == MediaBound(0, ("image", "file"))


@pytest.mark.parametrize("limit", [{"usd": "1"}, {"tokens": 5}])
def test_a_hard_ceiling_denies_what_has_no_bound(limit: dict[str, object]) -> None:
    with pytest.raises(BudgetExhausted, match="`file` input of model `m`") as refused:
        check_bound("m", ("file",), limits(**limit))
    assert refused.value.details["reason"] == "input_unbounded"
    assert refused.value.details["budget"] == "b"


def test_soft_ceilings_and_those_of_requests_do_not_mind() -> None:
    check_bound("m", ("file",), limits(usd="1", enforcement="soft"))
    check_bound("m", ("file",), limits(requests=5))
