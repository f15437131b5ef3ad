"""The YAML kinds of `apiVersion: harmost.dev/v1`, one typed `Spec` each. Shapes only: parse.py reads
them, resolve.py checks that they fit together.

Money in documents is a decimal string in US dollars ("0.02"), never a float; a price is a decimal
string in US dollars for a million tokens, as vendors print them.
"""

from typing import Any, Literal, TypeAlias

import msgspec

from harmost.core.chat import MediaKind
from harmost.core.resources.quirks import Quirks

__all__ = [
    "KINDS",
    "Access",
    "BudgetSpec",
    "ContextPrices",
    "Cost",
    "DataAccess",
    "Document",
    "Hop",
    "Key",
    "Limit",
    "Memory",
    "Metadata",
    "MissionProfileSpec",
    "ModelSpec",
    "Output",
    "PolicyException",
    "PolicySpec",
    "Price",
    "Principal",
    "ProviderSpec",
    "Redact",
    "Rollout",
    "Rule",
    "Sla",
    "Spec",
    "Step",
    "TenantSpec",
    "TokenPrices",
]


class Strict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A mapping in which an unknown field is an error: a misspelt limit must not mean "no limit"."""


class Metadata(Strict, frozen=True):
    """Names a document. `name` is unique within its kind; `tenant` is the path that owns it."""

    name: str
    tenant: str = ""
    description: str = ""
    labels: dict[str, str] = {}


class ProviderSpec(Strict, frozen=True):
    """How to reach a vendor or a self-hosted endpoint, and what its contract says.

    `credentials` is a reference, never the secret itself: "env:NAME", "file:PATH", or a cloud's own
    identity, "aws:", "google:", "entra:" (docs/credentials.md). `auth`, one of `AUTHS` in
    core/providers/auth.py, says how they travel where not in the codec's usual way or the cloud's.
    `auth_scope` is what they are asked for: a token's scope, "REGION/SERVICE" of AWS's signature;
    empty: the usual scope, or what `base_url` names.
    `http2`: "auto" lets TLS choose, true wants it, over plain `http://` too, false never uses it.
    `price_list` is whose prices of the built-in list hold here, such as "openai"; empty: those of
    the vendor that `base_url` is known to belong to.
    `regions`: addresses by region, for models that name one; all else is called at `base_url`, which
    is `region`'s. `connections_max` counts for each address. An HTTP/2 connection that carries calls
    and is silent for `ping_after_ms` (0: never) is asked whether the provider is there.
    `quirks` are how a server with `codec: openai` differs from OpenAI.
    `api_version` is the vendor's, where its format has several; empty: the codec's usual one.
    """

    codec: Literal[
        "openai", "openai-responses", "azure", "anthropic", "bedrock", "cohere", "gemini"
    ]
    base_url: str
    api_version: str = ""
    quirks: Quirks = Quirks()
    region: str = ""
    regions: dict[str, str] = {}
    credentials: str = ""
    auth: str = ""
    auth_scope: str = ""
    headers: dict[str, str] = {}
    connect_timeout_ms: int = 2_000
    first_byte_timeout_ms: int = 30_000
    idle_timeout_ms: int = 30_000
    total_timeout_ms: int = 600_000
    connections_max: int = 256
    ping_after_ms: int = 15_000
    ping_timeout_ms: int = 5_000
    http2: bool | Literal["auto"] = "auto"
    usage_path: str = ""
    price_list: str = ""
    dpa: bool = False
    baa: bool = False
    pci_aoc: bool = False
    transfer_mechanism: str = ""
    trains_on_data: bool = False
    retention_days: int = 0


class TokenPrices(Strict, frozen=True):
    """US dollars for a million tokens of each class, as decimal strings.

    A class left out costs what the class that it is part of costs.
    """

    cached_input: str = ""
    cache_write_5m: str = ""
    cache_write_1h: str = ""
    reasoning_output: str = ""
    audio_input: str = ""
    audio_output: str = ""


class ContextPrices(TokenPrices, frozen=True, kw_only=True):
    """What every token costs once an attempt has more than so many input tokens.

    Without `input` or `output`: what the price itself says of them.
    """

    above_input_tokens: int
    input: str = ""
    output: str = ""


class Price(TokenPrices, frozen=True, kw_only=True, rename={"from_": "from"}):
    """A price from a UTC day on ("2026-01-31"; empty: always).

    `request` is US dollars for each attempt, `tools` for each call of a tool. `service_tiers` says
    what share of the token prices a tier costs ("0.5"); a tier that it does not name has no price.
    """

    input: str
    output: str
    from_: str = ""
    request: str = ""
    tools: dict[str, str] = {}
    contexts: tuple[ContextPrices, ...] = ()
    service_tiers: dict[str, str] = {}


class ServerTool(Strict, frozen=True):
    """A tool that the provider runs by itself: in one attempt so often, reading so many tokens each time.

    What is not said has no bound, and a hard budget of money or tokens denies.
    """

    uses_max: int | None = None
    tokens_max_each: int | None = None


class ModelSpec(Strict, frozen=True):
    """A catalog entry.

    `price`: "auto" takes the built-in list's, by the provider's `base_url` and `vendor_model_id`;
    several prices follow each other by `from`; "unknown", or nothing found: a hard budget denies.
    `tokenizer` is "file:PATH" of a vocabulary in Hugging Face's form (tokenizer.json) on the Router's
    host: it counts input where the provider does not say what it counted. Not for a tenant's models.
    `service_tier` is asked of the provider with every call. Not "batch": answers are streamed.
    `capabilities`: "chat", "tools", "vision", "audio", "files", "json_schema", "reasoning", and words
    of your own for rules. `media_tokens_max`: the most input tokens that one "image", "audio" or "file"
    can become; without it one is denied under a hard budget.
    `server_tools`: what the provider does on its own with every call of this model, such as a search.
    `certifications`: words such as "iso-27001", of your own, for rules and people. From the UTC day
    `deprecated_on` the vendor advises against it, from `retires_on` it does not answer: whoever calls
    it then, or shortly before, is warned and told of `replacement`, another `Model` document.
    """

    provider: str
    vendor_model_id: str
    version: str = ""
    context_tokens_max: int = 128_000
    output_tokens_max: int = 4_096
    region: str = ""
    capabilities: tuple[str, ...] = ("chat",)
    media_tokens_max: dict[MediaKind, int] = {}
    price: Price | tuple[Price, ...] | Literal["auto", "unknown"] = "auto"
    service_tier: Literal["standard", "flex", "priority"] = "standard"
    tokenizer: str = ""
    server_tools: dict[str, ServerTool] = {}
    quality: dict[str, int] = {}
    certifications: tuple[str, ...] = ()
    status: Literal["active", "canary", "deprecated", "retired"] = "active"
    deprecated_on: str = ""
    retires_on: str = ""
    replacement: str = ""


class Output(Strict, frozen=True):
    """What a step's answer must be: JSON that fits `schema` (see mission/schema.py for the subset)."""

    schema: dict[str, Any]


class Step(Strict, frozen=True):
    """One exchange of a mission. `when` is CEL over the outputs of earlier steps."""

    name: str
    models: tuple[str, ...]
    when: str = ""
    system: str = ""
    output: Output | None = None
    output_tokens_max: int = 0


class Memory(Strict, frozen=True):
    """What a mission remembers. Kept and checked; nothing reads it yet."""

    store: str
    turns_max: int = 20
    retention: str = "30d"


class DataAccess(Strict, frozen=True):
    """A right to a data store. Kept and checked; nothing grants by it yet."""

    store: str
    collections: tuple[str, ...] = ()
    mode: Literal["read", "write"] = "read"


class Access(Strict, frozen=True):
    """What a mission may touch."""

    data: tuple[DataAccess, ...] = ()


class Sla(Strict, frozen=True):
    """What the profile promises, in milliseconds. 0: nothing."""

    ttft_p95_ms: int = 0
    total_p95_ms: int = 0


class Cost(Strict, frozen=True):
    """Ceilings: on an attempt's expected blended price, US dollars for a thousand tokens; on a mission.

    `usd_max` is a hard budget of the mission's own, in US dollars, below those of its tenant.
    `reserve`: when that is held at the budgets above: by "attempt", each its own worst case, or all of
    it before the "mission" begins, so that nobody else can spend it meanwhile.
    `hold`: "strict" holds all that an answer may have before it is asked for; "progressive" begins a
    streamed one with less, holds more as it comes and cuts it where there is no more.
    """

    usd_per_1k_tokens_max: str = ""
    usd_max: str = ""
    reserve: Literal["attempt", "mission"] = "attempt"
    hold: Literal["strict", "progressive"] = "strict"


class Hop(Strict, frozen=True):
    """When the exchange moves to the next model. `stall_ms`: silence before the first token."""

    on: tuple[Literal["error", "stall", "sla", "cost"], ...] = ("error",)
    stall_ms: int = 0


class MissionProfileSpec(Strict, frozen=True):
    """What an application names in a call: models in order of preference, steps, rights, ceilings.

    Either `steps`, or `models` (with `system`) as shorthand for one step named "answer".
    `unsupported_parameters`: a wish that a model does not know, such as `seed`, is left out and reported
    with the answer ("drop"), or the model is not asked ("refuse").
    `audit: required`: nothing is sent before it is on the disk that it will be. `audit_retention` is
    how long the audit log keeps what tells of its calls; empty: as its caller's tenant says.
    """

    steps: tuple[Step, ...] = ()
    models: tuple[str, ...] = ()
    system: str = ""
    output_tokens_max: int = 1_024
    input_bytes_max: int = 262_144
    attempts_max: int = 4
    memory: Memory | None = None
    access: Access = Access()
    sla: Sla = Sla()
    cost: Cost = Cost()
    hop: Hop = Hop()
    snapshot_age_max_s: int = 86_400
    audit: Literal["standard", "required"] = "standard"
    unsupported_parameters: Literal["drop", "refuse"] = "drop"
    audit_retention: Literal["", "short", "standard", "long"] = ""


class Redact(Strict, frozen=True, rename={"with_": "with"}):
    """Which data classes are replaced, and how."""

    classes: tuple[str, ...]
    with_: Literal["label", "mask_last4"] = "label"


class Rollout(Strict, frozen=True):
    """How many of a hundred tenants a rule is enforced for; all others get it in mode `otherwise`.

    Which tenants that are depends on their path and the policy's name alone, and a higher percentage
    only adds some.
    """

    percent: int
    otherwise: Literal["warn", "shadow"] = "warn"


class Rule(Strict, frozen=True):
    """`when` is CEL over request and candidate facts; exactly one effect. An empty `when` always holds.

    `require` is CEL over the facts of each candidate model: candidates that do not meet it go.
    `cap_usd_per_1k_tokens` is a ceiling as in `Cost`: candidates above it go. `message` is what
    whoever the rule meets is told; the text of `deny` is one already.
    """

    name: str
    when: str = ""
    deny: str | None = None
    allow: bool = False
    require: str = ""
    redact: Redact | None = None
    cap_output_tokens: int = 0
    cap_usd_per_1k_tokens: str = ""
    priority: int = 0
    mode: Literal["enforce", "warn", "shadow"] = "enforce"
    rollout: Rollout | None = None
    message: str = ""
    owner: str = ""
    cites: tuple[str, ...] = ()


class PolicyException(Strict, frozen=True):
    """An `allow` for a time, which someone answers for and someone else approved.

    `expires` is RFC 3339 with its zone; from then on the exception rests.
    """

    name: str
    when: str
    owner: str
    approver: str
    expires: str
    reason: str
    priority: int = 0
    cites: tuple[str, ...] = ()


class PolicySpec(Strict, frozen=True):
    """Rules of one concern. They bind calls charged at or below the document's tenant.

    `variables` are CEL expressions by name, for the conditions of this document: `variables.name`.
    `owner` answers for the rules that name none.
    """

    rules: tuple[Rule, ...] = ()
    variables: dict[str, str] = {}
    exceptions: tuple[PolicyException, ...] = ()
    owner: str = ""


class Limit(Strict, frozen=True):
    """One ceiling. Exactly one of `usd`, `tokens`, `requests`.

    From so many percent of it on, it warns, prefers cheaper models, slows down; 0: it does not.
    """

    window: Literal["minute", "hour", "day", "week", "month", "total"]
    usd: str = ""
    tokens: int = 0
    requests: int = 0
    enforcement: Literal["hard", "soft"] = "hard"
    warn_at_percent: int = 80
    cheaper_at_percent: int = 0
    throttle_at_percent: int = 0


class BudgetSpec(Strict, frozen=True):
    """Ceilings for one node: the document's tenant, narrowed by at most one of profile, agent, user.

    Its days, weeks and months are those of `timezone`, an IANA name; months begin on `month_day`.
    """

    limits: tuple[Limit, ...]
    profile: str = ""
    agent: str = ""
    end_user: str = ""
    timezone: str = "UTC"
    month_day: int = 1


class Key(Strict, frozen=True):
    """An API key as it is kept: never the key, only its SHA-256 in hex ("sha256:…")."""

    id: str
    hash: str
    expires: str = ""


class Principal(Strict, frozen=True):
    """Someone who calls: keys, what they may do, what they may claim.

    `keys` left out are those that the principal has now: a file from Git need not know them. An
    empty list takes them all away.
    """

    name: str
    roles: tuple[Literal["caller", "author", "finance", "operator"], ...] = ("caller",)
    keys: tuple[Key, ...] | None = None
    claims: tuple[
        Literal[
            "purpose",
            "lawful_basis",
            "subject_region",
            "opt_outs",
            "significant_decision",
            "human_review",
            "data_classes",
        ],
        ...,
    ] = ()


class TenantSpec(Strict, frozen=True):
    """A node of the tree; its name is its whole path, "acme/retail/support".

    `audit_retention` is how long the audit log keeps what tells of its calls, and of those below it:
    90 days, 400 days or seven years; empty: as the tenant above says, at last "standard". While
    `legal_hold`, it keeps all of them, and no end user of them is erased.
    """

    principals: tuple[Principal, ...] = ()
    allowed_purposes: tuple[str, ...] = ()
    in_flight_max: int = 1_000
    audit_retention: Literal["", "short", "standard", "long"] = ""
    legal_hold: bool = False


Spec: TypeAlias = (
    ProviderSpec | ModelSpec | MissionProfileSpec | PolicySpec | BudgetSpec | TenantSpec
)

KINDS: dict[str, type[Spec]] = {
    "Tenant": TenantSpec,
    "Provider": ProviderSpec,
    "Model": ModelSpec,
    "MissionProfile": MissionProfileSpec,
    "Policy": PolicySpec,
    "Budget": BudgetSpec,
}


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """One document, parsed: its kind, its metadata, its typed spec."""

    kind: str
    metadata: Metadata
    spec: Spec

    @property
    def owner(self) -> str:
        """Tenant path that it belongs to, "" for the whole deployment; a `Tenant` is its own."""
        return self.metadata.name if self.kind == "Tenant" else self.metadata.tenant
