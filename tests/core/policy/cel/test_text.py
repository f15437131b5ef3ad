"""A tree written as CEL reads back as the same tree."""

import pytest

from harmost.core.policy.cel.front import fact_environment
from harmost.core.policy.cel.text import text_of

SOURCES = [
    'purpose == "a"',
    'purpose == "quote \\" back \\\\ tab \\t line \\n é 漢 \\u0001"',
    '"pan" in data.classes && !("env" in labels) || channel.tls',
    "(channel.tls || decision.significant) && !decision.human_review",
    "!(channel.tls && decision.significant)",
    "channel.tls ? decision.significant : decision.human_review",
    "(channel.tls ? decision.significant : channel.tls) ? channel.tls : decision.human_review",
    "(channel.tls ? 1 : 2) + 3 == 4",
    "input.tokens - (input.bytes - 3) == -5",
    "input.tokens * (2 + 3) % 7 / 2 >= -(input.bytes)",
    "-input.tokens < 0 && 1.5 < double(input.tokens)",
    "size(data.classes) == 0 && size(purpose) != 3",
    'labels["env"] == "prod" && labels.team == "x" && has(labels.env)',
    'purpose.startsWith("a") && (purpose + "b").endsWith("b") && purpose.contains("")',
    'model.name.matches("^[a-z]+$")',
    'data.classes.exists(c, c in ["a", "b"] && purpose == c)',
    'data.classes.all(c, subject.opt_outs.exists(o, o == c || o == "x"))',
    'data.classes.filter(c, c != "a").size() == 2',
    'data.classes.map(c, c + "x")[0] == "ax"',
    'data.classes.map(c, c != "a", c + "x") == ["bx"]',
    'data.classes.exists_one(c, c == "a")',
    'subject.region in ["EEA", "UK"] && [1, 2][0] == 1 && {"a": 1}["a"] == 1',
    "(input.tokens == 1) == channel.tls",
    "(channel.tls && decision.significant) == false",
    "true || false",
    "input.tokens == -9223372036854775808",
    "1e300 * 1.0 > 0.1",
]


@pytest.mark.parametrize("source", SOURCES)
def test_text_reads_back_as_the_same_tree(source: str) -> None:
    environment = fact_environment()
    node = environment.compile(source).node
    assert environment.compile(text_of(node)).node == node


def test_text_has_no_needless_brackets() -> None:
    source = '!("pan" in data.classes) && (channel.tls || purpose == "a" && input.tokens + 1 > 2)'
    assert text_of(fact_environment().compile(source).node) == source
