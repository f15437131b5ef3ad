"""Generations are kept whole, up to a bound, and survive a restart."""

from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from harmost.core.errors import NotFound, ServiceUnavailable
from harmost.services.policy.store import GENERATIONS_KEPT, PolicyStore, Published, StoredDocument


def put(store: PolicyStore, generation: int, **documents: bytes) -> None:
    store.publish(
        Published(generation, published_at_ms=generation * 10, author="test"),
        changed=[
            StoredDocument("Model", name, generation, yaml) for name, yaml in documents.items()
        ],
        removed=[],
    )


def content(store: PolicyStore, generation: int) -> dict[str, bytes]:
    return {item.name: item.yaml for item in store.at(generation).documents}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[PolicyStore]:
    opened = PolicyStore(tmp_path / "policy.db")
    yield opened
    opened.close()


def test_new_store_runs_generation_zero(store: PolicyStore) -> None:
    assert store.latest() == (Published(), ())
    with pytest.raises(NotFound, match="nothing was applied yet"):
        store.at(1)


def test_each_generation_is_what_it_was(store: PolicyStore) -> None:
    put(store, 1, a=b"1", b=b"1")
    put(store, 2, b=b"2", c=b"2")
    store.publish(Published(3, published_at_ms=30), changed=[], removed=[("Model", "a")])
    assert content(store, 1) == {"a": b"1", "b": b"1"}
    assert content(store, 2) == {"a": b"1", "b": b"2", "c": b"2"}
    assert content(store, 3) == {"b": b"2", "c": b"2"}
    assert store.latest().published.published_at_ms == 30
    assert [item.generation for item in store.latest().documents] == [2, 2]


def test_reopened_store_has_all(tmp_path: Path) -> None:
    first = PolicyStore(tmp_path / "p.db")
    put(first, 1, a=b"1")
    first.close()
    second = PolicyStore(tmp_path / "p.db")
    assert content(second, 1) == {"a": b"1"}
    second.close()


def test_failed_publication_changes_nothing(store: PolicyStore) -> None:
    put(store, 1, a=b"1")
    with pytest.raises(ServiceUnavailable, match="the policy store failed"):
        put(store, 1, a=b"2")
    assert content(store, 1) == {"a": b"1"}


def test_old_generations_go_with_what_only_they_held(tmp_path: Path) -> None:
    store = PolicyStore(tmp_path / "p.db")
    for generation in range(1, GENERATIONS_KEPT + 4):
        put(store, generation, a=b"%d" % generation)
    assert content(store, 3) == {"a": b"3"}
    with pytest.raises(NotFound, match=f"name one of 3 to {GENERATIONS_KEPT + 3}"):
        store.at(2)
    store.close()
    database = apsw.Connection(str(tmp_path / "p.db"))
    assert database.execute("SELECT count(*) FROM document").get == GENERATIONS_KEPT + 1
    database.close()
