"""What a provider repeats of a secret is not told on, in whatever form it repeats it."""

from base64 import b64encode, urlsafe_b64encode
from urllib.parse import quote, quote_plus

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmost.core.providers.hidden import HIDDEN, hidden

PRINTABLE = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=8, max_size=60)


@given(PRINTABLE, st.binary(max_size=5), st.binary(max_size=5))
def test_no_form_of_a_secret_is_left(secret: str, before: bytes, after: bytes) -> None:
    told = [
        *(secret, quote(secret), quote(secret, safe=""), quote_plus(secret)),
        msgspec.json.encode(secret).decode()[1:-1],
    ]
    for form in told:
        assert form not in hidden(f"a {form} b", [secret])
    for encode in (b64encode, urlsafe_b64encode):
        left = hidden(encode(before + secret.encode() + after).decode(), [secret])
        assert HIDDEN in left
        assert len(left) <= len(HIDDEN) + 4 * (len(before) + len(after) + 4) // 3 + 4


@given(PRINTABLE, st.integers(6, 60))
def test_a_secret_that_is_cut_off_at_the_end_is_not_told_either(secret: str, length: int) -> None:
    assert hidden("no: " + secret[:length], [secret]).endswith(HIDDEN)


@pytest.mark.parametrize("secrets", [[], [""], ["other-secret"]])
def test_words_without_secrets_stay(secrets: list[str]) -> None:
    assert hidden("invalid model `x`: use another", secrets) == "invalid model `x`: use another"


def test_a_short_key_does_not_take_letters_out_of_words() -> None:
    assert hidden("the model is overloaded: k3 is no key", ["k3"]) == (
        f"the model is overloaded: {HIDDEN} is no key"
    )
