"""What policy names is replaced, whole, and counted; all else stays as it was."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmost.core.policy.decision import Redaction
from harmost.core.privacy.redact import redact, redact_json
from harmost.core.privacy.scan import find

EMAIL = Redaction(data_class="email", how="label")
PAN = Redaction(data_class="pan", how="label")
PAN_LAST4 = Redaction(data_class="pan", how="mask_last4")


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("bob@example.com paid", "[EMAIL] paid"),
        ("4111 1111 1111 1111", "**** **** **** 1111"),
        ("4111-1111-1111-1111", "****-****-****-1111"),
        ("4111111111111111", "************1111"),
        ("378282246310005!", "***********0005!"),
        ("a 4111111111111111 b bob@example.com c", "a ************1111 b [EMAIL] c"),
        ("nothing here", "nothing here"),
        ("", ""),
    ],
)
def test_spans_are_replaced_in_place(text: str, redacted: str) -> None:
    assert redact(text, [EMAIL, PAN_LAST4])[0] == redacted


def test_spans_are_counted_by_class() -> None:
    text = "bob@example.com, eve@example.com: 4111111111111111"
    assert redact(text, [EMAIL, PAN]) == (
        "[EMAIL], [EMAIL]: [PAN]",
        {"email": 2, "pan": 1},
    )


def test_classes_that_are_not_named_stay() -> None:
    text = "bob@example.com 4111111111111111"
    assert redact(text, [PAN]) == ("bob@example.com [PAN]", {"pan": 1})
    assert redact(text, []) == (text, {})
    assert redact(text, [Redaction(data_class="ssn", how="label")]) == (text, {})


def test_an_address_has_no_last_digits_to_show() -> None:
    masked = Redaction(data_class="email", how="mask_last4")
    assert redact("bob@example.com", [masked])[0] == "[EMAIL]"


def test_a_number_inside_an_address_goes_with_it() -> None:
    text = "4111111111111111@example.com"
    assert redact(text, [EMAIL, PAN_LAST4]) == ("[EMAIL]", {"email": 1, "pan": 1})
    assert redact(text, [PAN_LAST4])[0] == "************1111@example.com"


def test_spans_that_overlap_are_both_replaced() -> None:
    redacted, _ = redact("4111 1111 1111 1111@example.com", [EMAIL, PAN])
    assert redacted == "[PAN][EMAIL]"


@given(
    pieces=st.lists(
        st.one_of(
            st.text(max_size=8),
            st.text(alphabet="0123456789 -@.a", max_size=30),
            st.sampled_from(["bob@example.com", "4111 1111 1111 1111", "378282246310005"]),
        ),
        max_size=6,
    )
)
def test_after_labels_nothing_is_left_to_find(pieces: list[str]) -> None:
    text = "".join(pieces)
    redacted, spans = redact(text, [EMAIL, PAN])
    assert find(redacted) == []
    assert sum(spans.values()) == len(find(text))


def test_json_stays_json_and_numbers_become_words() -> None:
    text = '{"to":["bob@example.com",1],"card":4111111111111111,"deep":{"eve@example.com":"b"},"ok":true}'
    redacted, spans = redact_json(text, [EMAIL, PAN])
    assert json.loads(redacted) == {
        "to": ["[EMAIL]", 1],
        "card": "[PAN]",
        "deep": {"[EMAIL]": "b"},
        "ok": True,
    }
    assert spans == {"email": 2, "pan": 1}


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    ).map(lambda value: json.dumps({"a": value}))
)
def test_json_without_a_hit_is_returned_as_it_came(text: str) -> None:
    redacted, spans = redact_json(text, [Redaction(data_class="iban", how="label")])
    assert (redacted, spans) == (text, {}) or spans
    assert redact_json(text, []) == (text, {})
