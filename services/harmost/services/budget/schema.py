"""The ledger's tables, version by version, and the queries that prove that they add up."""

__all__ = ["APPLICATION_ID", "CHECKS", "CHECKS_OF_ALL_ROWS", "MIGRATIONS"]

APPLICATION_ID = 0x484D4C47  # "HMLG"

_SCHEMA = """
CREATE TABLE balances (
    id INTEGER PRIMARY KEY,
    budget TEXT NOT NULL,
    unit INTEGER NOT NULL CHECK (unit BETWEEN 1 AND 3),
    window TEXT NOT NULL,
    window_start_ns INTEGER NOT NULL,
    settled INTEGER NOT NULL CHECK (settled >= 0),
    held INTEGER NOT NULL CHECK (held >= 0),
    debt INTEGER NOT NULL CHECK (debt BETWEEN 0 AND settled),
    UNIQUE (budget, unit, window, window_start_ns)
) STRICT;

CREATE TABLE entries (
    sequence INTEGER PRIMARY KEY,
    kind INTEGER NOT NULL CHECK (kind BETWEEN 1 AND 4),
    key TEXT NOT NULL,                -- attempt, or idempotency key of an adjustment
    fingerprint BLOB NOT NULL,        -- of what was asked
    created_ns INTEGER NOT NULL,
    tenant TEXT NOT NULL,
    profile TEXT NOT NULL,
    agent_id TEXT NOT NULL,
    end_user_id TEXT NOT NULL,
    model TEXT NOT NULL,
    price_unknown INTEGER NOT NULL,
    held_usd_nanos INTEGER NOT NULL,  -- this and the next seven: what the row changes
    held_tokens INTEGER NOT NULL,
    held_requests INTEGER NOT NULL,
    settled_usd_nanos INTEGER NOT NULL,
    settled_tokens INTEGER NOT NULL,
    settled_requests INTEGER NOT NULL,
    debt_usd_nanos INTEGER NOT NULL,
    debt_tokens INTEGER NOT NULL,
    counters TEXT NOT NULL,           -- JSON: ids of the balances that the row changes
    usage TEXT NOT NULL,              -- JSON, or empty
    warnings TEXT NOT NULL,           -- JSON, or empty
    budget TEXT NOT NULL,
    author TEXT NOT NULL,
    reason TEXT NOT NULL
) STRICT;

-- An attempt is reserved once and closed once, by a settlement (2) or by a void (3).
CREATE UNIQUE INDEX entries_by_key ON entries (key, CASE kind WHEN 3 THEN 2 ELSE kind END);

CREATE TRIGGER entries_are_never_changed BEFORE UPDATE ON entries
BEGIN SELECT raise(ABORT, 'ledger rows are only ever added'); END;
CREATE TRIGGER entries_are_never_deleted BEFORE DELETE ON entries
BEGIN SELECT raise(ABORT, 'ledger rows are only ever added'); END;

CREATE TABLE holds (
    attempt_id TEXT PRIMARY KEY,
    sequence INTEGER NOT NULL  -- of its RESERVE
) STRICT, WITHOUT ROWID;
"""

# The tenant of who reserved, "" for the deployment's own Routers: who below it may not close it.
_HOLDERS = "ALTER TABLE holds ADD COLUMN holder TEXT NOT NULL DEFAULT ''"

# Leases: what is with Routers, and the keys of calls that must be made once.
_LEASES = """
ALTER TABLE balances ADD COLUMN leased INTEGER NOT NULL DEFAULT 0 CHECK (leased >= 0);
ALTER TABLE balances ADD COLUMN suspense INTEGER NOT NULL DEFAULT 0 CHECK (suspense >= 0);
ALTER TABLE holds ADD COLUMN expires_ns INTEGER NOT NULL DEFAULT 0;  -- 0: never
ALTER TABLE entries ADD COLUMN price_version TEXT NOT NULL DEFAULT '';

CREATE TABLE routers (
    router TEXT PRIMARY KEY,
    epoch INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    answer BLOB NOT NULL  -- MessagePack: to the last message
) STRICT, WITHOUT ROWID;

-- Sums since the epoch began, in the counter's unit.
CREATE TABLE leases (
    router TEXT NOT NULL REFERENCES routers,
    epoch INTEGER NOT NULL,
    counter INTEGER NOT NULL,
    granted INTEGER NOT NULL,
    spent INTEGER NOT NULL,
    returned INTEGER NOT NULL,
    posted INTEGER NOT NULL,
    suspended INTEGER NOT NULL,
    PRIMARY KEY (router, epoch, counter),
    CHECK (spent >= 0 AND returned >= 0 AND granted >= spent + returned)
) STRICT, WITHOUT ROWID;

CREATE TABLE keys (
    owner TEXT NOT NULL,
    key TEXT NOT NULL,
    digest BLOB NOT NULL,
    record_id TEXT NOT NULL,
    router TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    claimed_ns INTEGER NOT NULL,
    ended_ns INTEGER NOT NULL,  -- 0: its call runs, as far as is known
    PRIMARY KEY (owner, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX keys_by_record ON keys (record_id);
CREATE INDEX keys_by_end ON keys (ended_ns);

CREATE TABLE deployment (id TEXT NOT NULL) STRICT;
"""

# Reports of a span read no more than it, for 0.2 us of each row that is written.
_BY_TIME = "CREATE INDEX entries_by_time ON entries (created_ns)"

MIGRATIONS = (_SCHEMA, _HOLDERS, _LEASES, _BY_TIME)

# Each balance that is not the sum of its entries.
_DIFFERENCES = """
WITH sums AS (
    SELECT counter.value AS id, sum(held_usd_nanos) AS h1, sum(held_tokens) AS h2,
        sum(held_requests) AS h3, sum(settled_usd_nanos) AS s1, sum(settled_tokens) AS s2,
        sum(settled_requests) AS s3, sum(debt_usd_nanos) AS d1, sum(debt_tokens) AS d2
    FROM entries, json_each(entries.counters) AS counter GROUP BY counter.value
)
SELECT coalesce(b.id, s.id) FROM sums AS s FULL JOIN balances AS b ON b.id = s.id
WHERE b.id IS NULL
    OR b.held IS NOT coalesce(CASE b.unit WHEN 1 THEN h1 WHEN 2 THEN h2 ELSE h3 END, 0)
    OR b.settled IS NOT coalesce(CASE b.unit WHEN 1 THEN s1 WHEN 2 THEN s2 ELSE s3 END, 0)
    OR b.debt IS NOT coalesce(CASE b.unit WHEN 1 THEN d1 WHEN 2 THEN d2 ELSE 0 END, 0)
LIMIT 1
"""
# Each balance whose held part is not the sum of the open holds.
_HELD_DIFFERENCES = """
WITH sums AS (
    SELECT counter.value AS id, sum(held_usd_nanos) AS h1, sum(held_tokens) AS h2,
        sum(held_requests) AS h3
    FROM holds JOIN entries USING (sequence), json_each(entries.counters) AS counter
    GROUP BY counter.value
)
SELECT b.id FROM balances AS b LEFT JOIN sums AS s ON b.id = s.id
WHERE b.held IS NOT coalesce(CASE b.unit WHEN 1 THEN h1 WHEN 2 THEN h2 ELSE h3 END, 0)
LIMIT 1
"""
# Each balance whose lent parts are not the sum of what is left of its leases.
_LENT_DIFFERENCES = """
WITH sums AS (
    SELECT counter AS id, sum(iif(suspended, 0, granted - spent - returned)) AS leased,
        sum(iif(suspended, granted - spent - returned, 0)) AS suspense
    FROM leases GROUP BY counter
)
SELECT coalesce(b.id, s.id) FROM sums AS s FULL JOIN balances AS b ON b.id = s.id
WHERE b.id IS NULL OR b.leased IS NOT coalesce(s.leased, 0)
    OR b.suspense IS NOT coalesce(s.suspense, 0)
LIMIT 1
"""
# Each attempt that is reserved and neither open nor closed, or open and closed.
_LOST_HOLDS = """
SELECT r.key FROM entries AS r LEFT JOIN holds AS h ON h.attempt_id = r.key
LEFT JOIN entries AS c ON c.key = r.key AND CASE c.kind WHEN 3 THEN 2 ELSE c.kind END = 2
WHERE r.kind = 1 AND (h.sequence IS NULL) = (c.sequence IS NULL) LIMIT 1
"""

# What is wrong, and the query that names the first of them. Quick, whatever the ledger's age.
CHECKS = (("counter", _HELD_DIFFERENCES), ("counter", _LENT_DIFFERENCES))
# The same, and O(rows).
CHECKS_OF_ALL_ROWS = (("counter", _DIFFERENCES), ("attempt", _LOST_HOLDS))
