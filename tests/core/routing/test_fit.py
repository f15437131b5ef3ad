"""What a call needs of a model, and what becomes of wishes that it does not know."""

import pytest

from harmost.core.chat import Generation, Media, Message, Text, Tool
from harmost.core.providers.codec import Fit
from harmost.core.resources.kinds import ModelSpec
from harmost.core.routing.fit import dropped, modalities, needs, unfit

HI = (Message.of("user", "hi"),)


def model(*capabilities: str) -> ModelSpec:
    return ModelSpec(provider="p", vendor_model_id="m", capabilities=("chat", *capabilities))


def seen(*kinds: str) -> tuple[Message, ...]:
    media = tuple(Media(kind=kind, file_id="f") for kind in kinds)  # type: ignore[arg-type]
    return (Message("user", (Text("see"), *media)),)


def test_words_alone_need_nothing() -> None:
    assert needs(HI, Generation(seed=1)) == ()
    assert modalities(HI) == ["text"]


def test_each_kind_of_input_needs_its_capability() -> None:
    assert modalities(seen("image", "file", "image")) == ["text", "file", "image"]
    assert needs(seen("image"), Generation()) == ("vision",)
    assert needs(seen("audio", "file"), Generation()) == ("audio", "files")
    assert needs(HI, Generation(tools=(Tool("f"),), output_schema_json="{}")) == (
        "tools",
        "json_schema",
    )


def test_a_model_without_the_capability_is_told_what_to_add() -> None:
    assert "`vision`" in unfit(model("tools"), Fit(), ("vision",), ())
    assert unfit(model("vision"), Fit(), ("vision",), ()) == ""


def test_a_format_without_the_form_is_no_candidate() -> None:
    assert "`audio`" in unfit(model("audio"), Fit(lacks=("audio",)), ("audio",), ())


def test_wishes_that_must_be_met_take_a_model_out() -> None:
    assert "`seed`" in unfit(model(), Fit(drops=("seed",)), (), ("seed",))


@pytest.mark.parametrize(
    ("effort", "capabilities", "expected"),
    [
        ("", (), ()),
        ("none", (), ()),
        ("high", (), ("reasoning_effort",)),
        ("high", ("reasoning",), ()),
    ],
)
def test_an_effort_is_dropped_where_the_model_does_not_reason(
    effort: str, capabilities: tuple[str, ...], expected: tuple[str, ...]
) -> None:
    generation = Generation(reasoning_effort=effort)  # type: ignore[arg-type]
    assert dropped(model(*capabilities), Fit(), generation) == expected
    assert dropped(model(*capabilities), Fit(drops=("seed",)), generation) == ("seed", *expected)
