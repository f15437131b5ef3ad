"""Opens what Telemetry keeps: the store of records and, where there is a key for it, the audit log."""

from collections.abc import Callable, Generator
from contextlib import ExitStack, closing, contextmanager
from typing import NamedTuple

from harmost.core.audit.leaf import Retention
from harmost.core.errors import InvalidInput, NotPossibleNow
from harmost.core.resources.resolve import Catalog
from harmost.core.tenants import ancestors, visible
from harmost.services.audit.keys import signers_at
from harmost.services.audit.sequencer import Sequencer
from harmost.services.audit.storage import open_storage
from harmost.services.audit.witness import Witnesses, witness_of
from harmost.services.settings import Settings
from harmost.services.snapshots.watcher import SnapshotWatcher
from harmost.services.telemetry.audit import AuditLog
from harmost.services.telemetry.nonces import NonceStore
from harmost.services.telemetry.retention import retention_of
from harmost.services.telemetry.store import TelemetryStore
from harmost.services.telemetry.trail import AuditTrail, head_of

__all__ = ["Kept", "kept_store", "legal_hold", "retention"]


class Kept(NamedTuple):
    """The store, and the audit log of it (None: none is kept)."""

    store: TelemetryStore
    audit: AuditLog | None


@contextmanager
def kept_store(settings: Settings, snapshots: SnapshotWatcher) -> Generator[Kept]:
    """What is kept in the data directory, until the block ends.

    InvalidInput where there is an audit log and no key for it: a record that goes past it would be
    missing from it for good.
    """
    path, keep = settings.data_dir / "telemetry.db", retention_of(settings.keep)
    with ExitStack() as stack:

        def catalog() -> Catalog | None:
            try:
                return snapshots.current().catalog
            except NotPossibleNow:
                return None

        rules = _Rules(catalog)
        if not settings.audit_signing_key:
            store = TelemetryStore(path, retention=keep, held=rules.tenants_held)
            stack.enter_context(closing(store))
            if store.audited(head_of).next_index:
                raise InvalidInput(
                    "there is an audit log, but no key to sign it: give `--audit-signing-key`"
                )
            yield Kept(store, None)
            return
        signers = signers_at(settings.audit_signing_key, origin=settings.audit_origin)
        witnesses = Witnesses([witness_of(each) for each in settings.audit_witnesses])
        nonces = stack.enter_context(closing(NonceStore(settings.data_dir / "audit-nonces.db")))
        trail = AuditTrail(nonces, rules.retention)
        store = TelemetryStore(path, retention=keep, trail=trail, held=rules.tenants_held)
        stack.enter_context(closing(store))
        storage = open_storage(settings.audit_log or str(settings.data_dir / "audit"))
        sequencer = Sequencer(storage, signers)
        yield Kept(
            store,
            AuditLog(
                store,
                trail,
                sequencer,
                witnesses=witnesses,
                held=rules.held,
                held_within=rules.held_within,
            ),
        )


class _Rules:
    """What documents say now. Before any is known: keep everything, for too long does less harm."""

    def __init__(self, catalog: Callable[[], Catalog | None]) -> None:
        self._catalog = catalog

    def retention(self, tenant: str, profile: str) -> Retention:
        catalog = self._catalog()
        return "long" if catalog is None else retention(catalog, tenant, profile)

    def tenants_held(self) -> tuple[str, ...] | None:
        """Those whose documents say so; None: not known yet."""
        catalog = self._catalog()
        if catalog is None:
            return None
        return tuple(name for name, each in catalog.tenants.items() if each.spec.legal_hold)

    def held(self, tenant: str) -> bool:
        catalog = self._catalog()
        return catalog is None or legal_hold(catalog, tenant)

    def held_within(self, tenant: str) -> bool:
        catalog = self._catalog()
        return catalog is None or any(
            legal_hold(catalog, name)
            for name in (tenant, *catalog.tenants)
            if visible(tenant, name)
        )


def retention(catalog: Catalog, tenant: str, profile: str) -> Retention:
    """How long the log keeps what tells of a call: as its profile says, or the nearest tenant that
    says anything."""
    named = catalog.profiles.get(profile)
    if named is not None and named.spec.audit_retention:
        return named.spec.audit_retention
    for level in reversed(ancestors(tenant)):
        found = catalog.tenants.get(level)
        if found is not None and found.spec.audit_retention:
            return found.spec.audit_retention
    return "standard"


def legal_hold(catalog: Catalog, tenant: str) -> bool:
    """Whether what belongs to `tenant` is kept whatever its age: it or one above it says so."""
    levels = (catalog.tenants.get(level) for level in ancestors(tenant))
    return any(each is not None and each.spec.legal_hold for each in levels)
