"""Keys are known for as long as the running snapshot says, however often they were seen."""

import time
from collections.abc import Callable

import pytest

from harmost.core.errors import Killed, NotPossibleNow
from harmost.core.policy.revocations import Revocation, RevocationKind, Revocations
from harmost.core.resources.keys import new_key
from harmost.core.resources.parse import Source, parse_sources
from harmost.core.resources.snapshot import CompiledSnapshot, compile_snapshot
from harmost.services.interceptors import authenticate
from harmost.services.interceptors.authenticate import authenticator

SERVICE_KEY, ADMIN_KEY = "s" * 40, "a" * 40


def snapshot_of(*keys: tuple[str, str, str]) -> CompiledSnapshot:
    """One principal `app` of `acme` with keys given as id, hash and end."""
    lines = [f"{{id: '{i}', hash: '{h}', expires: '{e}'}}" for i, h, e in keys]
    text = (
        "apiVersion: harmost.dev/v1\nkind: Tenant\nmetadata: {name: acme}\n"
        f"spec: {{principals: [{{name: app, roles: [caller], keys: [{', '.join(lines)}]}}]}}\n"
    )
    return compile_snapshot(1, parse_sources([Source("t.yaml", text.encode())]))


class Running:
    """A snapshot that can change."""

    def __init__(self, snapshot: CompiledSnapshot | None) -> None:
        self.snapshot = snapshot
        self.revocations = Revocations()
        self.now_s: float | None = None
        self.authenticate = authenticator(
            service_key=SERVICE_KEY,
            admin_key=ADMIN_KEY,
            snapshot=self.current,
            revocations=lambda: self.revocations,
            clock=lambda: time.time() if self.now_s is None else self.now_s,
        )

    def current(self) -> CompiledSnapshot:
        if self.snapshot is None:
            raise NotPossibleNow("no snapshot")
        return self.snapshot


def test_the_deployments_own_keys_need_no_snapshot() -> None:
    running = Running(None)
    service, admin = running.authenticate(SERVICE_KEY), running.authenticate(ADMIN_KEY)
    assert service is not None
    assert admin is not None
    assert (service.roles, admin.name) == ({"service"}, "admin")
    assert running.authenticate("x" * 40) is None


def test_a_key_is_its_principals_as_often_as_it_is_shown() -> None:
    text, key = new_key()
    running = Running(snapshot_of((key.id, key.hash, "")))
    for _ in range(3):
        found = running.authenticate(text)
        assert found is not None
        assert (found.name, found.tenant, found.roles) == ("app", "acme", {"caller"})
    assert running.authenticate(text[:-1] + ("A" if text[-1] != "A" else "B")) is None


def test_a_key_that_was_seen_is_forgotten_when_it_is_revoked() -> None:
    text, key = new_key()
    running = Running(snapshot_of((key.id, key.hash, "")))
    assert running.authenticate(text)
    running.snapshot = snapshot_of()
    assert running.authenticate(text) is None
    running.snapshot = snapshot_of((key.id, key.hash, ""))
    assert running.authenticate(text)


def test_a_key_that_was_seen_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    text, key = new_key()
    running = Running(snapshot_of((key.id, key.hash, "2030-01-01T00:00:00Z")))
    ends_s = 1_893_456_000.0
    now: Callable[[], float] = lambda: ends_s - 1
    monkeypatch.setattr(time, "time", now)
    assert running.authenticate(text)
    assert running.authenticate(text)
    monkeypatch.setattr(time, "time", lambda: ends_s)
    assert running.authenticate(text) is None


def test_guesses_are_not_kept_and_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(authenticate, "KNOWN_MAX", 2)
    made = [new_key() for _ in range(5)]
    snapshot = snapshot_of(*((key.id, key.hash, "") for _, key in made))
    known = authenticate._Known()
    for text in ("no key", *(text for text, _ in made)):
        for _ in range(2):
            found = known.principal(authenticate._digest(text), text, snapshot, 0.0)
            assert (found is not None) == (text != "no key")
    assert len(known._principals) == 2


@pytest.mark.parametrize("kind", ["key", "principal"])
def test_what_is_revoked_is_stopped_and_restored_at_once(kind: RevocationKind) -> None:
    text, key = new_key()
    running = Running(snapshot_of((key.id, key.hash, "")))
    assert running.authenticate(text)
    name = key.id if kind == "key" else "app"
    running.revocations = Revocations(1, [Revocation(kind=kind, name=name, tenant="acme")])
    with pytest.raises(Killed, match=f"{kind} `{name}` is stopped"):
        running.authenticate(text)
    running.revocations = Revocations(2)
    assert running.authenticate(text)


def test_a_clock_that_is_set_back_revives_no_key() -> None:
    text, key = new_key()
    running = Running(snapshot_of((key.id, key.hash, "2026-01-01T00:00:00Z")))
    end_s = 1_767_225_600
    running.now_s = end_s - 1
    assert running.authenticate(text)
    running.now_s = end_s
    assert running.authenticate(text) is None
    running.now_s = end_s - 3_600
    assert running.authenticate(text) is None
