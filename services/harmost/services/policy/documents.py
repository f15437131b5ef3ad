"""The set of documents that runs, and what it becomes by a change: checked whole, or refused.

Knows who may change what. No I/O: the store writes what is decided here, service.py publishes it.
"""

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import NamedTuple

import msgspec

from harmost.core.errors import Conflict, Forbidden, InvalidDocuments, NotFound
from harmost.core.limits import DOCUMENTS_BYTES_MAX, DOCUMENTS_MAX
from harmost.core.resources.dump import content_digest, dump, etag_of
from harmost.core.resources.kinds import ProviderSpec, TenantSpec
from harmost.core.resources.lifecycle import warning_of
from harmost.core.resources.parse import ParsedDocument, Source, parse_sources
from harmost.core.resources.snapshot import CompiledSnapshot, compile_snapshot
from harmost.core.tenants import visible
from harmost.services.interceptors.principal import Principal
from harmost.services.policy.store import Generation, Published, StoredDocument

__all__ = ["Change", "ChangeKind", "Kept", "Key", "Origin", "Running", "change", "loaded"]

Key = tuple[str, str]  # kind and name
ChangeKind = str  # "added", "changed", "unchanged", "removed"
# What a source revision is followed by once documents were changed without one being named.
LOCAL = "+local"
# Generations hand their compiler on, also to those that are only tried; one thread at a time uses it.
_COMPILING = threading.Lock()


class Origin(NamedTuple):
    """Where a change comes from. `source_revision` "": no commit is known."""

    principal: Principal
    now_ms: int
    source_revision: str = ""
    rolled_back_to: int = 0


class Kept(NamedTuple):
    """A document that runs."""

    parsed: ParsedDocument
    stored: StoredDocument
    etag: str

    @property
    def owner(self) -> str:
        """Tenant path that it belongs to."""
        return self.parsed.document.owner


@dataclass(frozen=True, slots=True)
class Running:
    """Everything of one generation. `documents` stand in order of kind and name."""

    published: Published
    documents: Mapping[Key, Kept]
    snapshot: CompiledSnapshot

    @property
    def generation(self) -> int:
        """Its number."""
        return self.published.generation

    @property
    def etag(self) -> str:
        """What changes with every generation."""
        return f"{self.generation}-{self.snapshot.digest.hex()[:16]}"

    def check_etag(self, etag: str) -> None:
        """Raise Conflict if the caller saw another generation; "" asks nothing."""
        if etag and etag != self.etag:
            raise Conflict(
                f"the documents have changed: `{etag}` was read, `{self.etag}` runs: "
                "read them again and apply on what is there now",
                details={"etag": self.etag, "generation": str(self.generation)},
            )


class Change(NamedTuple):
    """A change that passed every check, not yet written; `kinds` has each document it speaks of."""

    running: Running
    kinds: Mapping[Key, ChangeKind]
    changed: tuple[StoredDocument, ...]
    removed: tuple[Key, ...]

    def warnings(self, today: date) -> list[str]:
        """Which models of the documents that it speaks of end soon; `today` is in UTC."""
        models = self.running.snapshot.catalog.models
        named = [name for kind, name in self.kinds if kind == "Model" and name in models]
        found = (warning_of(name, models[name].spec, today) for name in sorted(named))
        return [warning for warning in found if warning]


def loaded(generation: Generation) -> Running:
    """What the store holds, compiled; InvalidDocuments if this version no longer understands it."""
    parsed = _parsed_stored(generation.documents)
    kept = {
        found.key: _kept(found, document)
        for found, document in zip(parsed, generation.documents, strict=True)
    }
    return Running(
        generation.published,
        kept,
        compile_snapshot(
            generation.published.generation,
            parsed,
            digest=content_digest(item.yaml for item in generation.documents),
        ),
    )


def change(
    running: Running,
    *,
    put: Sequence[ParsedDocument],
    remove: Sequence[Key],
    origin: Origin,
) -> Change:
    """What `running` becomes when `put` is added or replaced and `remove` removed.

    Raises InvalidDocuments, Forbidden or NotFound, and then nothing may be done. About 0.2 ms a
    rule of the whole set and 0.5 ms a document that is sent.
    """
    principal = origin.principal
    for key in remove:
        _check_may_remove(running, key, principal)
    kinds: dict[Key, ChangeKind] = dict.fromkeys(remove, "removed")
    changed: dict[Key, StoredDocument] = {}
    put = [_with_keys_kept(parsed, running) for parsed in put]
    for parsed in put:
        _check_may_put(running, parsed, principal)
        content = dump(parsed.document)
        old = running.documents.get(parsed.key)
        if old is not None and old.stored.yaml == content:
            kinds[parsed.key] = "unchanged"
            continue
        kinds[parsed.key] = "added" if old is None else "changed"
        changed[parsed.key] = StoredDocument(*parsed.key, running.generation + 1, content)
    if not changed and not remove:
        return Change(running, kinds, (), ())
    published = _published(running, origin, changed=len(changed), removed=len(remove))
    after = _after(running, put, changed, frozenset(remove), published)
    return Change(after, kinds, tuple(changed.values()), tuple(remove))


def _with_keys_kept(parsed: ParsedDocument, running: Running) -> ParsedDocument:
    """A `Tenant` whose principals have the keys that they have now, where it names none."""
    spec, old = parsed.document.spec, running.documents.get(parsed.key)
    if not isinstance(spec, TenantSpec) or old is None:
        return parsed
    old_spec = old.parsed.document.spec
    assert isinstance(old_spec, TenantSpec)  # INVARIANT: found under the same kind
    keys = {principal.name: principal.keys for principal in old_spec.principals}
    principals = tuple(
        msgspec.structs.replace(principal, keys=keys.get(principal.name))
        if principal.keys is None
        else principal
        for principal in spec.principals
    )
    spec = msgspec.structs.replace(spec, principals=principals)
    return parsed._replace(document=msgspec.structs.replace(parsed.document, spec=spec))


def _after(
    running: Running,
    put: Sequence[ParsedDocument],
    changed: Mapping[Key, StoredDocument],
    removed: frozenset[Key],
    published: Published,
) -> Running:
    kept = {
        key: old
        for key, old in running.documents.items()
        if key not in removed and key not in changed
    }
    stored = [*(old.stored for old in kept.values()), *changed.values()]
    _check_size(stored)
    # Problems are told at their place in the file that was sent, not in its canonical form.
    sent = [parsed for parsed in put if parsed.key in changed]
    with _COMPILING:
        snapshot = compile_snapshot(
            published.generation,
            [*(old.parsed for old in kept.values()), *sent],
            digest=content_digest(item.yaml for item in stored),
            before=running.snapshot,
        )
    for parsed in _parsed_stored(changed.values()):
        kept[parsed.key] = _kept(parsed, changed[parsed.key])
    return Running(published, dict(sorted(kept.items())), snapshot)


def _published(running: Running, origin: Origin, *, changed: int, removed: int) -> Published:
    before = running.published.source_revision.removesuffix(LOCAL)
    return Published(
        generation=running.generation + 1,
        published_at_ms=origin.now_ms,
        author=origin.principal.name,
        source_revision=origin.source_revision or (before and before + LOCAL),
        rolled_back_to=origin.rolled_back_to,
        changed=changed,
        removed=removed,
    )


def _parsed_stored(documents: Iterable[StoredDocument]) -> tuple[ParsedDocument, ...]:
    return parse_sources([Source(f"{item.kind}/{item.name}", item.yaml) for item in documents])


def _kept(parsed: ParsedDocument, stored: StoredDocument) -> Kept:
    return Kept(parsed, stored, etag_of(stored.yaml))


def _check_size(documents: Iterable[StoredDocument]) -> None:
    sizes = [len(document.yaml) for document in documents]
    if len(sizes) > DOCUMENTS_MAX or sum(sizes) > DOCUMENTS_BYTES_MAX:
        raise InvalidDocuments(
            f"there would be {len(sizes)} documents of {sum(sizes)} bytes: at most "
            f"{DOCUMENTS_MAX} of {DOCUMENTS_BYTES_MAX} are kept: delete some first"
        )


def _check_may_remove(running: Running, key: Key, principal: Principal) -> None:
    kept = running.documents.get(key)
    if kept is None or not visible(principal.tenant, kept.owner):
        raise NotFound(f"{key[0]} `{key[1]}` does not exist: list what there is")


def _check_may_put(running: Running, parsed: ParsedDocument, principal: Principal) -> None:
    if not principal.tenant:
        return
    kind, name = parsed.key
    owner = parsed.document.owner
    where = parsed.where("metadata", "name" if kind == "Tenant" else "tenant")
    if not visible(principal.tenant, owner):
        belongs = f"tenant `{owner}`" if owner else "the whole deployment"
        raise Forbidden(
            f"{where}: {kind} `{name}` belongs to {belongs}, `{principal.name}` to "
            f"`{principal.tenant}`: set `metadata.tenant` to that or below it"
        )
    old = running.documents.get(parsed.key)
    if old is not None and not visible(principal.tenant, old.owner):
        raise Forbidden(f"{where}: {kind} `{name}` is taken by another tenant: choose another name")
    spec = parsed.document.spec
    if isinstance(spec, ProviderSpec) and spec.credentials:
        # The reference names a secret of the Router's host: it would go wherever base_url says.
        raise Forbidden(
            f"{parsed.where('spec', 'credentials')}: `credentials` read what belongs to the whole "
            "deployment: only a key of the whole deployment may name them"
        )
