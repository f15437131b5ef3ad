"""Trees survive bytes, hostile bytes do no harm, and everything about a tree is bounded."""

import subprocess
import sys
from random import Random

import cel_cases
import msgspec
import pytest
from effort import effort
from hypothesis import given, settings
from hypothesis import strategies as st

from harmost.core.limits import CEL_DEPTH_MAX, CEL_IR_BYTES_MAX, CEL_LOCALS_MAX, CEL_NODES_MAX
from harmost.core.policy.cel import ir
from harmost.core.policy.cel.front import fact_environment
from harmost.core.policy.cel.ir import (
    And,
    Arithmetic,
    Call,
    Compare,
    Const,
    Each,
    Fact,
    Has,
    If,
    In,
    Index,
    IrRefused,
    ListOf,
    Local,
    MapOf,
    Node,
    Not,
    Or,
    decode,
    encode,
)
from harmost.core.policy.cel.vm import Program
from harmost.core.policy.facts import fact_schema

ENVIRONMENT = fact_environment()
TRUE = Const("bool", True)
REGION = Fact("subject.region", "string")
CLASSES = Fact("data.classes", "list(string)")


def tree(source: str) -> Node:
    return ENVIRONMENT.compile_value(source).node


def text(value: str) -> Const:
    return Const("string", value)


@pytest.mark.parametrize(
    ("source", "node"),
    [
        ('subject.region == "EEA"', Compare("==", REGION, text("EEA"))),
        ('"pan" in data.classes', In(text("pan"), CLASSES)),
        ('labels["env"]', Index(Fact("labels", "map(string,string)"), text("env"))),
        ("labels.env", Index(Fact("labels", "map(string,string)"), text("env"))),
        ("has(labels.env)", Has(Fact("labels", "map(string,string)"), "env")),
        ("!channel.tls", Not(Fact("channel.tls", "bool"))),
        ("-input.tokens", Arithmetic("-", (Fact("input.tokens", "int"),))),
        ('subject.region.startsWith("E")', Call("startsWith", (REGION, text("E")))),
        ("size(subject.region)", Call("size", (REGION,))),
        ("[1, 1.0]", ListOf((Const("int", 1), Const("double", 1.0)))),
        ("{1: null}", MapOf((Const("int", 1),), (Const("null", None),))),
        (
            "data.classes.exists(c, c == subject.region)",
            Each("exists", CLASSES, Compare("==", Local(0), REGION)),
        ),
        (
            "data.classes.map(a, a != '', data.classes.filter(b, a == b))",
            Each(
                "map",
                CLASSES,
                Compare("!=", Local(0), text("")),
                Each("filter", CLASSES, Compare("==", Local(1), Local(0))),
            ),
        ),
        ("data.classes.map(c, c)", Each("map", CLASSES, TRUE, Local(0))),
        ("data.classes.exists_one(c, true)", Each("exists_one", CLASSES, TRUE)),
        ("channel.tls ? 1 : 2", If(Fact("channel.tls", "bool"), Const("int", 1), Const("int", 2))),
    ],
)
def test_each_construct_becomes_its_node(source: str, node: Node) -> None:
    assert tree(source) == node


def test_connectives_are_flat_whatever_the_brackets() -> None:
    names = ("channel.tls", "provider.dpa", "provider.baa", "decision.significant")
    facts = tuple(Fact(name, "bool") for name in names)
    for source in ("{} || {} || {} || {}", "({} || {}) || ({} || {})", "{} || ({} || ({} || {}))"):
        assert tree(source.format(*names)) == Or(facts)
        assert tree(source.replace("||", "&&").format(*names)) == And(facts)
    mixed = tree("channel.tls && (provider.dpa || provider.baa)")
    assert mixed == And((facts[0], Or(facts[1:3])))


def test_equal_trees_are_one_key_and_different_types_are_not() -> None:
    assert len({tree("input.tokens == 1"), tree("(input.tokens) == 1")}) == 1
    assert encode(tree("[1] == []")) != encode(tree("[1.0] == []"))
    assert tree("[1] == []") != tree("[1.0] == []")
    assert tree("[1] == []") != tree("[true] == []")


def test_walk_and_children_follow_the_source() -> None:
    node = tree("input.tokens > 1 && subject.region in ['a']")
    assert [type(part) for part in ir.walk(node)] == [
        *(And, Compare, Fact, Const),
        *(In, Fact, ListOf, Const),
    ]
    assert ir.facts_of(node) == {"input.tokens", "subject.region"}


@pytest.mark.timeout(effort(120, ci=600, nightly=7_200))
@settings(max_examples=effort(100, ci=1_000, nightly=10_000), deadline=None)
@given(st.data())
def test_random_trees_survive_bytes(data: st.DataObject) -> None:
    condition = cel_cases.over_declared_facts(cel_cases.Drawn(data.draw)).condition(3)
    node = tree(condition.text)
    again = decode(encode(node))
    assert encode(again) == encode(node)
    assert repr(again) == repr(node)  # NaN is not equal to itself


@pytest.mark.parametrize(
    "node",
    [
        Local(0),
        Each("all", ListOf(()), Local(1)),
        Each("all", Local(0), TRUE),
        Each("map", ListOf(()), TRUE),
        Each("all", ListOf(()), TRUE, TRUE),
        And((TRUE,)),
        Or(()),
        Const("int", True),
        Const("int", 1.0),
        Const("double", 1),
        Const("bool", 1),
        Const("string", None),
        Const("int", 2**63),
        Arithmetic("+", (TRUE,)),
        Arithmetic("-", ()),
        Call("size", ()),
        Call("startsWith", (TRUE,)),
        Call("matches", (REGION, REGION)),
        MapOf((TRUE,), ()),
    ],
)
def test_what_the_front_never_makes_is_refused(node: Node) -> None:
    with pytest.raises(IrRefused, match="malformed"):
        decode(encode(node))
    with pytest.raises(IrRefused, match="malformed"):
        Program(node, fact_schema())


def nested(depth: int) -> Node:
    node: Node = TRUE
    for _ in range(depth - 1):
        node = Not(node)
    return node


def test_depth_is_bounded() -> None:
    assert decode(encode(nested(CEL_DEPTH_MAX))) == nested(CEL_DEPTH_MAX)
    with pytest.raises(IrRefused, match="nested too deeply"):
        decode(encode(nested(CEL_DEPTH_MAX + 1)))
    # 100,000 arrays in each other, which no encoder of ours would write.
    hostile = b"\x92\x01" + b"\x92\xa1!" * 100_000 + b"\xc0"
    with pytest.raises(IrRefused):
        decode(hostile)


def test_macros_in_each_other_are_bounded() -> None:
    node: Node = TRUE
    for _ in range(CEL_LOCALS_MAX):
        node = Each("all", ListOf(()), node)
    assert Program(node, fact_schema()).evaluate(fact_schema().frame({})) == (True, "")
    with pytest.raises(IrRefused, match="nested too deeply"):
        Program(Each("all", ListOf(()), node), fact_schema())


def test_the_number_of_nodes_is_bounded() -> None:
    assert ir.check(ListOf((TRUE,) * (CEL_NODES_MAX - 1))) == CEL_NODES_MAX
    with pytest.raises(IrRefused, match=f"more than {CEL_NODES_MAX} parts"):
        decode(encode(ListOf((TRUE,) * CEL_NODES_MAX)))
    with pytest.raises(IrRefused, match=f"more than {CEL_IR_BYTES_MAX} bytes"):
        decode(b"\0" * (CEL_IR_BYTES_MAX + 1))


def test_another_version_is_refused_by_name() -> None:
    with pytest.raises(IrRefused, match="of version 99, this reads 1: run the same version"):
        decode(msgspec.msgpack.encode((99, TRUE)))


def test_facts_of_another_deployment_are_refused_by_name() -> None:
    with pytest.raises(IrRefused, match=r"there is no fact `x\.y`"):
        Program(Compare("==", Fact("x.y", "int"), Const("int", 1)), fact_schema())
    with pytest.raises(IrRefused, match=r"`input\.tokens` is a int, not a string"):
        Program(Compare("==", Fact("input.tokens", "string"), text("")), fact_schema())
    with pytest.raises(IrRefused, match=r"`\(` is refused by RE2: missing"):
        Program(Call("matches", (REGION, text("("))), fact_schema())
    with pytest.raises(IrRefused, match="no Unicode text"):
        Program(text("\ud800"), fact_schema())


@pytest.mark.timeout(effort(120, ci=600, nightly=7_200))
def test_mutated_bytes_are_refused_or_run() -> None:
    """Whatever decodes is a tree that runs: an answer or an error, never a crash."""
    seed = Random().getrandbits(32)
    print(f"seed {seed}")
    random = Random(seed)
    generator = cel_cases.over_declared_facts(random)
    trees = [encode(tree(generator.condition(3).text)) for _ in range(100)]
    frame = fact_schema().frame({"data.classes": ["pan"], "labels": {"env": "prod"}})
    ran = 0
    for _ in range(effort(5_000, ci=200_000, nightly=5_000_000)):
        data = bytearray(random.choice(trees))
        for _ in range(random.choice((1, 1, 2, 5))):
            data[random.randrange(len(data))] = random.choice(
                (random.randrange(256), 0, 0xFF, 0x92)
            )
        if random.random() < 0.2:
            del data[random.randrange(len(data)) :]
        try:
            program = Program(decode(bytes(data)), fact_schema())
        except IrRefused:
            continue
        holds, error = program.evaluate(frame)
        assert isinstance(holds, bool)
        assert isinstance(error, str)
        ran += 1
    assert ran  # some change only a constant


def test_a_tree_runs_where_no_cel_compiler_can_be_loaded() -> None:
    data = encode(tree('"pan" in data.classes && subject.region.matches("^E")'))
    script = f"""
import sys
for name in ("cel_expr_python", "google.protobuf", "harmost.cel"):  # cannot be imported
    sys.modules[name] = None
from harmost.core.policy.cel import ir
from harmost.core.policy.cel.expression import Expression
from harmost.core.policy.facts import fact_schema
expression = Expression("", ir.decode({data!r}), fact_schema())
print(expression.holds_for({{"data.classes": ["pan"], "subject.region": "EEA"}}))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "(True, '')\n"
