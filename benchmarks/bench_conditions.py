"""What does one condition cost: to compile, to load, to run?

Back of the envelope: a run crosses from Python to C once (40 ns) and looks at some ten steps, each a few
loads and a branch (10 ns), so 0.1 to 0.2 us; cel-cpp through its binding makes Python objects at both
ends, 3 to 5 us. The facts of a call are 19 values of 32 bytes: 1 us. Compiling is cel-cpp's parser and
checker, 70 us, and a walk over 13 nodes in Python.
"""

import time
from collections.abc import Callable
from statistics import median

from _result import emit
from cel_expr_python import cel

from harmost.core.policy.cel.front import cel_type, fact_environment
from harmost.core.policy.cel.ir import decode, encode
from harmost.core.policy.cel.vm import Program
from harmost.core.policy.facts import declared_facts, fact_schema

ROUNDS = 21
CONDITIONS = {
    "fact": "channel.tls",
    "usual": '"pan" in data.classes && subject.region == "EEA" && !(model.region in ["EEA", "UK"])',
    "label": '"env" in labels && labels["env"] == "prod"',
    "macro": 'data.classes.exists(c, c in ["ssn", "mrn", "pan"])',
    "arithmetic": "input.tokens * 3 + output.tokens_max > 10000",
    "pattern": 'model.name.matches("^gpt-4")',
    "long": " || ".join(f'subject.region == "{number}"' for number in range(100)),
}
FACTS: dict[str, object] = {
    "request.tenant": "acme/retail/support",
    "request.profile": "resilient",
    "labels": {"env": "prod", "team": "a"},
    "purpose": "support",
    "channel.tls": True,
    "data.classes": ["email", "pan", "personal"],
    "subject.region": "EEA",
    "input.tokens": 1_200,
    "input.bytes": 4_800,
    "output.tokens_max": 500,
    "model.name": "gpt-4o",
    "model.region": "US",
    "model.capabilities": ["chat"],
}


def ns_each(run: Callable[[], object], count: int) -> float:
    """Median CPU of `run` over ROUNDS of `count`."""
    rounds: list[float] = []
    for _ in range(ROUNDS):
        begin = time.process_time_ns()
        for _ in range(count):
            run()
        rounds.append((time.process_time_ns() - begin) / count)
    return median(rounds)


def main() -> None:
    """One line a figure."""
    environment, schema = fact_environment(), fact_schema()
    frame = schema.frame(FACTS)
    types = {name: cel_type(fact.type.value) for name, fact in declared_facts().items()}
    theirs = cel.NewEnv(variables=types)
    activation = theirs.Activation(FACTS)
    for name, source in CONDITIONS.items():
        program = environment.compile(source).program
        compiled = theirs.compile(source)
        ours = program.evaluate(frame)
        assert ours == (compiled.eval(activation=activation).value(), ""), source
        ns = ns_each(lambda program=program: program.evaluate(frame), 5_000)
        emit(f"condition.run.{name}.ns", ns, "ns", ROUNDS * 5_000)
        ns = ns_each(lambda one=compiled: one.eval(activation=activation).value(), 500)
        emit(f"condition.run.{name}.cel_cpp.ns", ns, "ns", ROUNDS * 500)
    node = environment.compile(CONDITIONS["usual"]).node
    data = encode(node)
    for name, run in {
        "compile.usual": lambda: environment.compile(CONDITIONS["usual"]),
        "decode.usual": lambda: decode(data),
        "program.usual": lambda: Program(node, schema),
        "facts.request": lambda: schema.request(FACTS),
    }.items():
        emit(f"condition.{name}.us", ns_each(run, 200) / 1_000, "us", ROUNDS * 200)


if __name__ == "__main__":
    main()
