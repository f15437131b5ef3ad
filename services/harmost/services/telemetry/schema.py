"""The tables of Telemetry's database, as migrations: forwards only, never edited once released."""

import json
from collections.abc import Callable, Mapping

from harmost.services.telemetry.backlog import SCHEMA as EXPORTS
from harmost.telemetry.v1 import telemetry_pb2

__all__ = ["APPLICATION_ID", "FUNCTIONS", "MIGRATIONS", "USAGE_COLUMNS"]

APPLICATION_ID = 0x686D7474  # "hmtt"

USAGE_COLUMNS = (
    "input_tokens",
    "cached_input_tokens",
    "cache_write_5m_input_tokens",
    "cache_write_1h_input_tokens",
    "output_tokens",
    "reasoning_output_tokens",
)

_USAGE = "".join(f"{name} INTEGER NOT NULL, " for name in (*USAGE_COLUMNS, "exact"))

MIGRATIONS = (
    f"""
    CREATE TABLE records (
        position INTEGER PRIMARY KEY,
        record_id TEXT NOT NULL UNIQUE,
        tenant TEXT NOT NULL,
        profile TEXT NOT NULL,
        agent_id TEXT NOT NULL,
        end_user_id TEXT NOT NULL,
        status TEXT NOT NULL,
        started_ns INTEGER NOT NULL,
        attempts INTEGER NOT NULL,  -- that were sent to a provider
        {_USAGE}
        cost_usd_nanos INTEGER NOT NULL,
        record BLOB NOT NULL        -- harmost.telemetry.v1.Record without outcomes
    ) STRICT;

    -- Covers what pages are filtered by: a page of a rare tenant reads no rows of others.
    CREATE INDEX records_by_time ON records (started_ns, tenant, profile, status);

    CREATE TABLE attempts (
        position INTEGER NOT NULL REFERENCES records ON DELETE CASCADE,
        number INTEGER NOT NULL,
        model TEXT NOT NULL,
        sent INTEGER NOT NULL,
        {_USAGE}
        cost_usd_nanos INTEGER NOT NULL,
        PRIMARY KEY (position, number)
    ) STRICT, WITHOUT ROWID;

    -- Not bound to records: an outcome may come through another Router, before the record does.
    CREATE TABLE outcomes (
        record_id TEXT NOT NULL,
        name TEXT NOT NULL,
        reported_ns INTEGER NOT NULL,
        score_permille INTEGER NOT NULL,
        tenant TEXT NOT NULL,       -- of who said it
        PRIMARY KEY (record_id, name, reported_ns)
    ) STRICT, WITHOUT ROWID;

    CREATE INDEX outcomes_by_time ON outcomes (reported_ns);
    """,
    """
    -- What decisions were made on. Kept for less time than records: nothing refers to them.
    CREATE TABLE fact_vectors (
        position INTEGER PRIMARY KEY,
        record_id TEXT NOT NULL,
        tenant TEXT NOT NULL,
        profile TEXT NOT NULL,
        started_ns INTEGER NOT NULL,
        vector BLOB NOT NULL        -- as core/policy/vector.py writes it
    ) STRICT;

    CREATE INDEX fact_vectors_by_time ON fact_vectors (started_ns, tenant);
    """,
    """
    -- What is summed stays narrow, and longer than the records: those stand apart, wide, with names
    -- of end users in them.
    CREATE TABLE whole_records (
        position INTEGER PRIMARY KEY REFERENCES records ON DELETE CASCADE,
        started_ns INTEGER NOT NULL,
        record BLOB NOT NULL        -- harmost.telemetry.v1.Record without outcomes
    ) STRICT;

    CREATE TABLE labels (
        position INTEGER NOT NULL REFERENCES records ON DELETE CASCADE,
        name TEXT NOT NULL,
        value TEXT NOT NULL,
        PRIMARY KEY (position, name)
    ) STRICT, WITHOUT ROWID;

    INSERT INTO whole_records SELECT position, started_ns, record FROM records;
    INSERT INTO labels SELECT r.position, l.key, l.value
        FROM records AS r, json_each(labels_of(r.record)) AS l;
    ALTER TABLE records DROP COLUMN record;

    CREATE INDEX whole_records_by_time ON whole_records (started_ns);
    """,
    EXPORTS,
    """
    -- Where the audit log tells of a record. Kept as long as the entry is, which may be longer than
    -- the record.
    CREATE TABLE audit_leaves (
        record_id TEXT PRIMARY KEY,
        leaf_index INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;

    -- Entries that are in the log's order and not yet in a published head.
    CREATE TABLE audit_waiting (
        first_index INTEGER PRIMARY KEY,
        count INTEGER NOT NULL,
        entries BLOB NOT NULL       -- a bundle, as core/audit/tiles.py writes it
    ) STRICT;

    -- How far the log is: one row, from the first entry on.
    CREATE TABLE audit_head (
        id INTEGER PRIMARY KEY CHECK (id = 0),
        next_index INTEGER NOT NULL,
        size INTEGER NOT NULL,      -- published
        root BLOB NOT NULL,
        minimum_index INTEGER NOT NULL
    ) STRICT;
    """,
)


def _labels_of(record: bytes) -> str:
    """The labels in a stored record, as a JSON object."""
    return json.dumps(dict(telemetry_pb2.Record.FromString(record).labels))


def _path_head(path: str, levels: int) -> str:
    """The first `levels` levels of a tenant path."""
    return "/".join(path.split("/", levels)[:levels])


# What SQL here and in usage.py calls by name; each is told only by its arguments.
FUNCTIONS: Mapping[str, Callable[..., str]] = {"labels_of": _labels_of, "path_head": _path_head}
