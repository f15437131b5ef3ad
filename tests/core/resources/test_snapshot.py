"""A snapshot holds every document compiled, and knows whose key is whose."""

import pickle
import subprocess
import sys
from collections.abc import Callable

import pytest

from harmost.core.errors import InvalidDocuments, InvalidInput
from harmost.core.resources.dump import content_digest, dump
from harmost.core.resources.keys import new_key
from harmost.core.resources.parse import ParsedDocument, Source, parse_sources
from harmost.core.resources.snapshot import CompiledSnapshot, compile_snapshot

Parse = Callable[[str], tuple[ParsedDocument, ...]]
ENDS_S = 1_798_761_600  # 2027-01-01T00:00:00Z


def with_key(expires: str = "") -> tuple[str, CompiledSnapshot]:
    text, key = new_key(expires=expires)
    document = (
        "apiVersion: harmost.dev/v1\nkind: Tenant\nmetadata: {name: acme}\nspec:\n  principals:\n"
        "    - name: app\n      roles: [caller, author]\n      claims: [purpose]\n"
        f"      keys: [{{id: '{key.id}', hash: '{key.hash}', expires: '{key.expires}'}}]\n"
    )
    return text, compile_snapshot(1, parse_sources([Source("t", document.encode())]))


def test_nothing_is_a_snapshot_too() -> None:
    snapshot = compile_snapshot(0, ())
    assert snapshot.engine.decide({}, (), now_s=0).effect == "allow"
    assert snapshot.authenticate("anything", 0) is None


def test_key_says_who_calls() -> None:
    token, snapshot = with_key()
    caller = snapshot.authenticate(token, 0)
    assert caller is not None
    assert (caller.name, caller.tenant) == ("app", "acme")
    assert caller.roles == {"caller", "author"}
    assert caller.claims == {"purpose"}


def test_wrong_secret_of_a_known_id_is_refused() -> None:
    token, snapshot = with_key()
    assert snapshot.authenticate(token[:-43] + "a" * 43, 0) is None
    assert snapshot.authenticate("ä" * 59, 0) is None


def test_key_ends_when_it_expires() -> None:
    token, snapshot = with_key("2027-01-01T00:00:00Z")
    assert snapshot.authenticate(token, ENDS_S - 1) is not None
    assert snapshot.authenticate(token, ENDS_S) is None


def test_models_that_no_list_knows_have_no_price(base: tuple[ParsedDocument, ...]) -> None:
    assert compile_snapshot(1, base).prices.at(0) == {"small": None}


def test_profile_of_models_has_one_step(base: tuple[ParsedDocument, ...], parse: Parse) -> None:
    profile = "apiVersion: harmost.dev/v1\nkind: MissionProfile\nmetadata: {name: p}\nspec: {models: [small]}"
    (step,) = compile_snapshot(1, [*base, *parse(profile)]).steps["p"]
    assert step.models == ("small",)


def test_order_of_documents_changes_nothing(base: tuple[ParsedDocument, ...]) -> None:
    one, other = compile_snapshot(1, base), compile_snapshot(1, base[::-1])
    assert one.digest == other.digest == content_digest(dump(it.document) for it in base)
    assert list(one.catalog.tenants) == list(other.catalog.tenants)


@pytest.mark.parametrize("generation", [1, 7])
def test_decisions_name_their_generation(generation: int) -> None:
    assert (
        compile_snapshot(generation, ()).engine.decide({}, (), now_s=0).snapshot_generation
        == generation
    )


GOVERNED = """\
apiVersion: harmost.dev/v1
kind: Policy
metadata: {name: p}
spec:
  rules:
    - {name: no-pan, when: '"pan" in data.classes && model.region != "EEA"', deny: no}
---
apiVersion: harmost.dev/v1
kind: MissionProfile
metadata: {name: steps}
spec:
  steps:
    - name: first
      models: [small]
      output: {schema: {type: object, properties: {score: {type: integer}}, required: [score]}}
    - {name: second, models: [small], when: steps.first.score > 3}
"""


def test_a_compiled_policy_is_all_that_is_needed_where_nothing_can_compile(
    base: tuple[ParsedDocument, ...], parse: Parse
) -> None:
    documents = [*base, *parse(GOVERNED)]
    compiled = compile_snapshot(1, documents).compiled_policy()
    script = """
import pickle, sys
sys.modules["cel_expr_python"] = None  # cannot be imported
from harmost.core.policy.match import Candidate
from harmost.core.resources.parse import parse_sources
from harmost.core.resources.snapshot import compile_snapshot
import harmost.services.main
sources, compiled = pickle.load(sys.stdin.buffer)
snapshot = compile_snapshot(7, parse_sources(sources), compiled_policy=compiled)
for classes in (["pan"], []):
    facts = {"data.classes": classes}
    found = snapshot.engine.decide(facts, [Candidate("small", {})], now_s=0)
    print(found.effect, found.snapshot_generation)
print([step.runs({"first": {"score": 4}}) for step in snapshot.steps["steps"]])
"""
    sources = [Source(str(n), dump(each.document)) for n, each in enumerate(documents)]
    done = subprocess.run(
        [sys.executable, "-c", script],
        input=pickle.dumps((sources, compiled)),
        capture_output=True,
        check=False,
    )
    assert done.stderr.decode() == ""
    assert done.stdout.decode().splitlines() == ["deny 7", "allow 7", "[True, True]"]


def test_a_compiled_policy_is_the_same_bytes_for_the_same_documents(
    base: tuple[ParsedDocument, ...], parse: Parse
) -> None:
    documents = [*base, *parse(GOVERNED)]
    compiled = compile_snapshot(1, documents).compiled_policy()
    assert compile_snapshot(2, documents).compiled_policy() == compiled
    again = compile_snapshot(3, documents, compiled_policy=compiled)
    assert again.compiled_policy() == compiled


def test_a_change_is_compiled_as_if_nothing_had_been_before(
    base: tuple[ParsedDocument, ...], parse: Parse
) -> None:
    before = compile_snapshot(1, base)
    documents = [*base, *parse(GOVERNED)]
    after = compile_snapshot(2, documents, before=before)
    assert after.compiled_policy() == compile_snapshot(2, documents).compiled_policy()
    again = compile_snapshot(3, base, before=after)
    assert again.compiled_policy() == before.compiled_policy()


def test_a_damaged_compiled_policy_is_refused(
    base: tuple[ParsedDocument, ...], parse: Parse
) -> None:
    compiled = compile_snapshot(1, [*base, *parse(GOVERNED)]).compiled_policy()
    for damaged in (compiled[:-1], compiled + b"x", b"\xc1", compiled[: len(compiled) // 2]):
        with pytest.raises(InvalidInput, match="unreadable"):
            compile_snapshot(1, base, compiled_policy=damaged)


def test_a_compiled_policy_of_other_documents_lacks_their_conditions(
    base: tuple[ParsedDocument, ...], parse: Parse
) -> None:
    compiled = compile_snapshot(1, base).compiled_policy()
    with pytest.raises(InvalidDocuments, match="was not compiled"):
        compile_snapshot(1, [*base, *parse(GOVERNED)], compiled_policy=compiled)
