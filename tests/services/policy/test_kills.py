"""Who may stop what, for whom, and who may take it back."""

from collections.abc import Callable

import pytest

from harmost.core.errors import Forbidden, InvalidInput, NotFound, NotPossibleNow
from harmost.core.policy.revocations import REVOCATIONS_MAX, Revocation, Revocations
from harmost.core.resources.keys import new_key
from harmost.core.resources.parse import Source, parse_sources
from harmost.core.resources.resolve import resolve
from harmost.services.interceptors.principal import Principal
from harmost.services.policy.kills import MISSION_KEPT_MS, Stop, StopChange, restored, revoked

_, KEY = new_key()
CATALOG = resolve(
    parse_sources(
        [
            Source(
                "t",
                f"""
apiVersion: harmost.dev/v1
kind: Tenant
metadata: {{name: acme}}
spec:
  principals:
    - {{name: app, roles: [caller], keys: [{{id: "{KEY.id}", hash: "{KEY.hash}"}}]}}
    - {{name: both, roles: [caller]}}
---
apiVersion: harmost.dev/v1
kind: Tenant
metadata: {{name: acme/retail}}
---
apiVersion: harmost.dev/v1
kind: Tenant
metadata: {{name: globex}}
spec: {{principals: [{{name: both, roles: [caller]}}]}}
---
apiVersion: harmost.dev/v1
kind: Provider
metadata: {{name: vendor}}
spec: {{codec: openai, base_url: "https://api.example.com/v1", region: US}}
---
apiVersion: harmost.dev/v1
kind: Model
metadata: {{name: small}}
spec: {{provider: vendor, vendor_model_id: small-1}}
---
apiVersion: harmost.dev/v1
kind: MissionProfile
metadata: {{name: hello, tenant: acme}}
spec: {{models: [small]}}
""".encode(),
            )
        ]
    )
)
ROOT = Principal("root", "", frozenset())
ALICE = Principal("alice", "acme", frozenset())
GWEN = Principal("gwen", "globex", frozenset())
NONE = Revocations()


def kill(
    stop: Stop, *, by: Principal = ROOT, known: Revocations = NONE, now_ms: int = 1
) -> StopChange:
    return revoked(known, stop, catalog=CATALOG, principal=by, now_ms=now_ms)


@pytest.mark.parametrize(
    ("stop", "by", "tenant"),
    [
        (Stop("tenant", "acme/retail"), ALICE, "acme/retail"),
        (Stop("tenant", "acme"), ALICE, "acme"),
        (Stop("key", KEY.id), ROOT, "acme"),
        (Stop("principal", "app"), ROOT, "acme"),
        (Stop("principal", "both", "globex"), ROOT, "globex"),
        (Stop("principal", "both"), GWEN, "globex"),
        (Stop("profile", "hello"), ROOT, ""),
        (Stop("profile", "hello"), ALICE, "acme"),
        (Stop("profile", "hello", "acme/retail"), ALICE, "acme/retail"),
        (Stop("agent", "bot"), ALICE, "acme"),
        (Stop("agent", "bot"), ROOT, ""),
        (Stop("mission", "r1"), GWEN, "globex"),
    ],
)
def test_it_is_stopped_as_far_as_the_key_reaches(stop: Stop, by: Principal, tenant: str) -> None:
    made = kill(stop, by=by)
    assert made.revocation.key == (stop.kind, stop.name, tenant)
    assert (made.revocation.author, made.revocation.author_tenant) == (by.name, by.tenant)
    assert made.revocations.sequence == 1
    assert made.put == made.revocations.all == (made.revocation,)


@pytest.mark.parametrize(
    ("stop", "by", "error"),
    [
        (Stop("tenant", "acme"), GWEN, NotFound),
        (Stop("tenant", "nope"), ROOT, NotFound),
        (Stop("key", KEY.id), GWEN, NotFound),
        (Stop("key", "0" * 12), ROOT, NotFound),
        (Stop("key", KEY.id, "globex"), ROOT, InvalidInput),
        (Stop("principal", "app"), GWEN, NotFound),
        (Stop("principal", "both"), ROOT, InvalidInput),
        (Stop("profile", "hello"), GWEN, NotFound),
        (Stop("profile", "nope"), ROOT, NotFound),
        (Stop("agent", "bot", "acme"), GWEN, NotFound),
        (Stop("agent", "bot", "nope"), ROOT, NotFound),
        (Stop("agent", "bo\nt"), ROOT, InvalidInput),
    ],
)
def test_it_is_not_theirs_or_not_there(stop: Stop, by: Principal, error: type[Exception]) -> None:
    with pytest.raises(error):
        kill(stop, by=by)


def test_the_same_again_changes_nothing() -> None:
    first = kill(Stop("tenant", "acme", reason="x"))
    again = kill(Stop("tenant", "acme", reason="x"), known=first.revocations)
    assert again.revocations is first.revocations
    assert not again.put


def test_what_was_stopped_from_above_is_not_restored_from_below() -> None:
    above = kill(Stop("tenant", "acme")).revocations
    mine = kill(Stop("tenant", "acme", reason="mine"), by=ALICE, known=above)
    assert mine.revocations is above
    with pytest.raises(Forbidden, match="was revoked by `the whole deployment`"):
        restored(above, Stop("tenant", "acme"), principal=ALICE)
    assert restored(above, Stop("tenant", "acme"), principal=ROOT).revocations.all == ()


def test_what_was_stopped_from_below_can_be_taken_over() -> None:
    mine = kill(Stop("tenant", "acme"), by=ALICE).revocations
    above = kill(Stop("tenant", "acme"), known=mine)
    assert above.revocation.author == "root"
    assert len(above.revocations.all) == 1
    with pytest.raises(Forbidden):
        restored(above.revocations, Stop("tenant", "acme"), principal=ALICE)


def test_restore_finds_the_only_one_and_asks_which_of_several() -> None:
    one = kill(Stop("agent", "bot", "acme")).revocations
    assert restored(one, Stop("agent", "bot"), principal=ROOT).revocations.all == ()
    two = kill(Stop("agent", "bot", "globex"), known=one, by=GWEN).revocations
    with pytest.raises(InvalidInput, match="for several tenants: name one of `acme`, `globex`"):
        restored(two, Stop("agent", "bot"), principal=ROOT)
    left = restored(two, Stop("agent", "bot"), principal=GWEN)
    assert [each.tenant for each in left.revocations.all] == ["acme"]
    for stop in (Stop("agent", "other"), Stop("tenant", "bot")):
        with pytest.raises(NotFound, match="is not revoked"):
            restored(two, stop, principal=ROOT)


def test_missions_are_forgotten_after_a_day() -> None:
    old = kill(Stop("mission", "r1"), now_ms=1).revocations
    made = kill(Stop("mission", "r2"), known=old, now_ms=MISSION_KEPT_MS + 2)
    assert [each.name for each in made.revocations.all] == ["r2"]
    assert [each.name for each in made.removed] == ["r1"]


def full(make: Callable[[int], str] = str) -> Revocations:
    return Revocations(7, [Revocation(kind="agent", name=make(n)) for n in range(REVOCATIONS_MAX)])


def test_there_is_an_end_to_revocations() -> None:
    with pytest.raises(NotPossibleNow, match="revoke the tenant instead"):
        kill(Stop("agent", "one-more"), known=full())
    assert kill(Stop("agent", "5", reason="new"), known=full()).revocations.sequence == 8
    assert restored(full(), Stop("agent", "5"), principal=ROOT).revocations.sequence == 8
