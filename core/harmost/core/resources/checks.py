"""What one document says by itself: values out of range, and fields that contradict each other.

Needs no other document. A value that may be a secret is never repeated in a message.
"""

import re
from typing import NamedTuple, TypeAlias
from urllib.parse import urlsplit

from harmost.core.budget.price import TOKENS_MAX, TOOL_CALLS_MAX, usd_nanos
from harmost.core.budget.window import Calendar, check_calendar
from harmost.core.limits import CANDIDATES_MAX, INPUT_BYTES_MAX
from harmost.core.resources.credentials import credential_problems
from harmost.core.resources.keys import expires_s, is_hash, is_key_id
from harmost.core.resources.kinds import (
    BudgetSpec,
    Key,
    Limit,
    MissionProfileSpec,
    ModelSpec,
    Principal,
    ProviderSpec,
    TenantSpec,
)
from harmost.core.resources.lifecycle import day
from harmost.core.resources.parse import ParsedDocument
from harmost.core.resources.shapes import Report, quoted

__all__ = ["check_document"]

_TOKENIZER = re.compile(r"file:/[^\0\n]{1,4000}")
_RETENTION = re.compile(r"[1-9][0-9]{0,5}[smhdw]")
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_|~-]+")
_SECRET_HEADERS = frozenset(
    ("authorization", "proxy-authorization", "x-api-key", "api-key", "cookie", "x-goog-api-key")
)
TIMEOUT_MS_MAX = 24 * 3600 * 1000
PING_AFTER_MS_MIN = 1_000
REGIONS_MAX = 64  # each is a pool of connections of its own

Path: TypeAlias = tuple[str | int, ...]


def check_document(parsed: ParsedDocument, report: Report) -> None:
    """Report everything in the document that cannot be meant. O(document)."""
    check = _Check(parsed, report)
    match parsed.document.spec:
        case TenantSpec() as spec:
            _check_tenant(spec, check)
        case ProviderSpec() as spec:
            _check_provider(spec, check)
        case ModelSpec() as spec:
            _check_model(spec, check)
        case MissionProfileSpec() as spec:
            _check_profile(spec, check)
        case BudgetSpec() as spec:
            _check_budget(spec, check)
        case _:
            pass  # a policy's rules, as steps and prices, are checked where they are compiled


class _Check(NamedTuple):
    """One document under check."""

    parsed: ParsedDocument
    report: Report

    def wrong(self, path: Path, message: str) -> None:
        """Report `message` where `path` stands in the spec."""
        self.report(self.parsed.where("spec", *path), message)

    def within(self, path: Path, value: int, *, least: int, most: int = 2**53) -> None:
        """Report a `value` outside least..most."""
        if not least <= value <= most:
            upper = f" and at most {most}" if value > most else ""
            self.wrong(path, f"`{path[-1]}` {value} is out of range: write at least {least}{upper}")


def _check_tenant(spec: TenantSpec, check: _Check) -> None:
    metadata = check.parsed.document.metadata
    if metadata.tenant not in ("", metadata.name):
        check.report(
            check.parsed.where("metadata", "tenant"),
            "a tenant belongs to itself, its name is its whole path: remove `metadata.tenant`",
        )
    check.within(("in_flight_max",), spec.in_flight_max, least=1)
    names: set[str] = set()
    for index, principal in enumerate(spec.principals):
        if not principal.name or principal.name in names:
            check.wrong(
                ("principals", index, "name"),
                f"principal {quoted(principal.name)} has no name of its own: give it one",
            )
        names.add(principal.name)
        _check_keys(principal, index, check)


def _check_keys(principal: Principal, index: int, check: _Check) -> None:
    for key_index, key in enumerate(principal.keys or ()):
        path = ("principals", index, "keys", key_index)
        if not is_key_id(key.id):
            check.wrong((*path, "id"), "`id` is not a key's id: make one with `harmost key create`")
        if not is_hash(key.hash):
            check.wrong(
                (*path, "hash"),
                "`hash` is not `sha256:` and 64 hex digits: "
                "put what `harmost key create` prints, never the key itself",
            )
        if _unreadable_expiry(key):
            check.wrong(
                (*path, "expires"),
                f"{quoted(key.expires)} is no time: write RFC 3339, like `2027-01-31T00:00:00Z`",
            )


def _unreadable_expiry(key: Key) -> bool:
    try:
        expires_s(key)
    except (ValueError, OverflowError):
        return True
    return False


def _check_provider(spec: ProviderSpec, check: _Check) -> None:
    _check_addresses(spec, check)
    for field, problem in credential_problems(spec):
        check.wrong((field,), problem)
    for name in ("connect", "first_byte", "idle", "total"):
        field = f"{name}_timeout_ms"
        check.within((field,), getattr(spec, field), least=1, most=TIMEOUT_MS_MAX)
    if spec.total_timeout_ms < max(spec.connect_timeout_ms, spec.first_byte_timeout_ms):
        check.wrong(
            ("total_timeout_ms",),
            "`total_timeout_ms` is less than a timeout within it: raise it or lower those",
        )
    check.within(("connections_max",), spec.connections_max, least=1, most=100_000)
    _check_pings(spec, check)
    check.within(("retention_days",), spec.retention_days, least=0)
    if spec.usage_path and not spec.usage_path.startswith("/"):
        check.wrong(("usage_path",), "`usage_path` is no path: begin it with `/`")
    _check_headers(spec, check)


def _check_addresses(spec: ProviderSpec, check: _Check) -> None:
    if problem := _url_problem(spec.base_url):
        check.wrong(("base_url",), f"`base_url` {problem}")
    if len(spec.regions) > REGIONS_MAX:
        check.wrong(
            ("regions",),
            f"`regions` has {len(spec.regions)} entries, more than {REGIONS_MAX}: "
            "write another Provider document",
        )
    for region, url in spec.regions.items():
        if not region:
            check.wrong(("regions", region), "a region has no name: write one like `EEA`")
        elif region == spec.region:
            check.wrong(
                ("regions", region),
                f"`regions` names {quoted(region)}, which `base_url` is in: remove one",
            )
        elif problem := _url_problem(url):
            check.wrong(("regions", region), f"the address of {quoted(region)} {problem}")


def _check_pings(spec: ProviderSpec, check: _Check) -> None:
    if spec.ping_after_ms:  # vendors end connections that ping much more often than they send
        least = PING_AFTER_MS_MIN
        check.within(("ping_after_ms",), spec.ping_after_ms, least=least, most=TIMEOUT_MS_MAX)
    check.within(("ping_timeout_ms",), spec.ping_timeout_ms, least=1, most=TIMEOUT_MS_MAX)


def _check_headers(spec: ProviderSpec, check: _Check) -> None:
    for name, value in spec.headers.items():
        if not _HEADER.fullmatch(name) or not value.isprintable() or not value.isascii():
            check.wrong(("headers", name), f"header {quoted(name)} cannot be sent: correct it")
        elif name.lower() in _SECRET_HEADERS:
            check.wrong(
                ("headers", name),
                f"header {quoted(name)} carries a secret: name where it is kept in `credentials`",
            )


def _url_problem(url: str) -> str:
    """What is wrong with an address, as the end of a sentence; "" where nothing is."""
    advice = "write `http://` or `https://`, a host and a path"
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises where it is no number
    except ValueError:
        return f"is no URL: {advice}"
    if parts.username is not None or parts.password is not None:
        return "carries credentials: name where they are kept in `credentials`"
    if parts.query or parts.fragment:
        return "has a query or fragment: leave them out, paths are added to it"
    if parts.scheme not in ("http", "https") or not parts.hostname or not url.isascii():
        return f"{quoted(url)} is no URL of a provider: {advice}"
    return ""


def _check_model(spec: ModelSpec, check: _Check) -> None:
    if not spec.vendor_model_id:
        check.wrong(("vendor_model_id",), "`vendor_model_id` is empty: write the vendor's name")
    check.within(("context_tokens_max",), spec.context_tokens_max, least=1)
    check.within(("output_tokens_max",), spec.output_tokens_max, least=1)
    if spec.output_tokens_max > spec.context_tokens_max:
        check.wrong(
            ("output_tokens_max",),
            f"`output_tokens_max` {spec.output_tokens_max} is more than `context_tokens_max` "
            f"{spec.context_tokens_max}: lower it",
        )
    if spec.tokenizer and not _TOKENIZER.fullmatch(spec.tokenizer):
        check.wrong(
            ("tokenizer",),
            "`tokenizer` is no reference: write `file:/PATH/tokenizer.json`, from the root on",
        )
    elif spec.tokenizer and check.parsed.document.owner:
        check.wrong(
            ("tokenizer",),
            "`tokenizer` is a file of the Router's host, which only a model of the deployment may "
            "name: leave it out",
        )
    if not spec.capabilities:
        check.wrong(("capabilities",), "a model without capabilities serves nothing: name some")
    _check_end(spec, check)
    for kind, tokens_max in spec.media_tokens_max.items():
        check.within(("media_tokens_max", kind), tokens_max, least=1, most=TOKENS_MAX)
    for name, tool in spec.server_tools.items():
        path = ("server_tools", name)
        if tool.uses_max is not None:
            check.within((*path, "uses_max"), tool.uses_max, least=0, most=TOOL_CALLS_MAX)
        if tool.tokens_max_each is not None:
            check.within((*path, "tokens_max_each"), tool.tokens_max_each, least=0, most=TOKENS_MAX)


def _check_end(spec: ModelSpec, check: _Check) -> None:
    sound = True
    for field in ("deprecated_on", "retires_on"):
        if said := getattr(spec, field):
            try:
                day(said)
            except ValueError as error:
                check.wrong((field,), f"`{field}` {error}")
                sound = False
    if sound and spec.retires_on and spec.deprecated_on > spec.retires_on:
        check.wrong(
            ("deprecated_on",),
            f"`deprecated_on` {spec.deprecated_on} is after `retires_on` {spec.retires_on}: swap them",
        )
    if spec.replacement == check.parsed.document.metadata.name:
        check.wrong(("replacement",), "`replacement` names the model itself: name another one")


def _check_profile(spec: MissionProfileSpec, check: _Check) -> None:
    if spec.steps and spec.system:
        check.wrong(("system",), "`system` goes with `models`: move it into the steps")
    _check_models(spec.models, ("models",), check)
    for index, step in enumerate(spec.steps):
        _check_models(step.models, ("steps", index, "models"), check)
    check.within(("output_tokens_max",), spec.output_tokens_max, least=1)
    check.within(("input_bytes_max",), spec.input_bytes_max, least=1, most=INPUT_BYTES_MAX)
    check.within(("attempts_max",), spec.attempts_max, least=1, most=CANDIDATES_MAX)
    check.within(("snapshot_age_max_s",), spec.snapshot_age_max_s, least=1)
    _check_promises(spec, check)
    if spec.memory is not None:
        check.within(("memory", "turns_max"), spec.memory.turns_max, least=1)
        if not _RETENTION.fullmatch(spec.memory.retention):
            check.wrong(
                ("memory", "retention"),
                f"{quoted(spec.memory.retention)} is no duration: write one like `30d` or `12h`",
            )


def _check_models(models: tuple[str, ...], path: Path, check: _Check) -> None:
    for index, name in enumerate(models):
        if name in models[:index]:
            check.wrong((*path, index), f"model {quoted(name)} is named twice: remove one")


def _check_promises(spec: MissionProfileSpec, check: _Check) -> None:
    check.within(("sla", "ttft_p95_ms"), spec.sla.ttft_p95_ms, least=0)
    check.within(("sla", "total_p95_ms"), spec.sla.total_p95_ms, least=0)
    if 0 < spec.sla.total_p95_ms < spec.sla.ttft_p95_ms:
        check.wrong(
            ("sla", "ttft_p95_ms"),
            "the first token may take longer than the whole answer: "
            "lower `ttft_p95_ms` or raise `total_p95_ms`",
        )
    check.within(("hop", "stall_ms"), spec.hop.stall_ms, least=0)
    if "stall" in spec.hop.on and not spec.hop.stall_ms:
        check.wrong(("hop",), "`hop.on` has `stall` without `stall_ms`: say how long a stall is")
    for name in ("usd_per_1k_tokens_max", "usd_max"):
        if stated := getattr(spec.cost, name):
            _check_usd(stated, ("cost", name), check)
    if spec.cost.reserve == "mission" and not spec.cost.usd_max:
        check.wrong(
            ("cost", "reserve"),
            "`reserve: mission` has nothing to hold: state `usd_max`, what a mission may cost",
        )


def _check_budget(spec: BudgetSpec, check: _Check) -> None:
    narrowed = [name for name in ("profile", "agent", "end_user") if getattr(spec, name)]
    if len(narrowed) > 1:
        check.wrong(
            (narrowed[1],),
            f"{' and '.join(f'`{name}`' for name in narrowed)} are both given: "
            "write one budget for each",
        )
    if not spec.limits:
        check.wrong(("limits",), "a budget without limits bounds nothing: add one")
    check.within(("month_day",), spec.month_day, least=1, most=28)
    try:
        check_calendar(Calendar(spec.timezone))
    except ValueError as error:
        check.wrong(("timezone",), str(error))
    seen: set[tuple[str, str]] = set()
    for index, limit in enumerate(spec.limits):
        _check_limit(limit, ("limits", index), check)
        unit = "usd" if limit.usd else "tokens" if limit.tokens else "requests"
        if (unit, limit.window) in seen:
            check.wrong(
                ("limits", index),
                f"a second limit in `{unit}` a `{limit.window}`, of which only one can hold: "
                "remove one",
            )
        seen.add((unit, limit.window))


def _check_limit(limit: Limit, path: Path, check: _Check) -> None:
    given = [name for name in ("usd", "tokens", "requests") if getattr(limit, name)]
    if len(given) != 1:
        found = " and ".join(f"`{name}`" for name in given) or "none above 0"
        check.wrong(path, f"a limit has one of `usd`, `tokens`, `requests`, this has {found}")
    if limit.usd:
        _check_usd(limit.usd, (*path, "usd"), check)
    for name in ("tokens", "requests"):
        check.within((*path, name), getattr(limit, name), least=0)
    check.within((*path, "warn_at_percent"), limit.warn_at_percent, least=1, most=100)
    for name in ("cheaper_at_percent", "throttle_at_percent"):
        check.within((*path, name), getattr(limit, name), least=0, most=100)


def _check_usd(text: str, path: Path, check: _Check) -> None:
    try:
        nanos = usd_nanos(text)
    except ValueError as error:
        check.wrong(path, str(error))
        return
    if nanos <= 0:
        check.wrong(path, f"`{path[-1]}` {quoted(text)} is not above 0: write more or remove it")
