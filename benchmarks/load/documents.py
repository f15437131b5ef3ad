"""What the mesh under load is governed by: 1,000 rules, five budget levels, two providers, one mock.

`ungoverned` leaves out every rule and every limit and has one tenant level. What it cannot leave out,
because a Router has no switch for it: key, bounds, prompt scan, hold and settlement, journal, record.
"""

from collections.abc import Iterator
from pathlib import Path

import yaml

from harmost.core.resources.kinds import ProviderSpec

__all__ = ["ATTACKER", "HTTP2_DECLARED", "PROMPT", "tenant_of", "write_documents"]

RULES = 1_000
LEVELS = (
    "load",
    "load/eu",
    "load/eu/retail",
    "load/eu/retail/support",
    "load/eu/retail/support/chat",
)
ROOT_TENANT, LEAF = LEVELS[0], LEVELS[-1]
OUTPUT_TOKENS_MAX = 100_000
# Whoever attacks has a key as well, of a tenant that may have so many calls in flight.
ATTACKER, ATTACKER_IN_FLIGHT_MAX = "load/attacker", 500

# A kilobyte as people write it, with an address that the prompt scan finds. The knobs are patched.
PROMPT = (
    "#n=000001;p=000000;f=none# "
    + "The parcel that I ordered on the 3rd has not come, and the page says that it was delivered. "
    * 10
    + "Write to jane.doe@example.com or call; my order is 48151623, thank you in advance."
)

# Whether a Provider document can ask for HTTP/2 without TLS; before it could, there was only HTTP/1.1.
HTTP2_DECLARED = "http2" in ProviderSpec.__struct_fields__


def tenant_of(*, governed: bool) -> str:
    """The tenant whose key makes the calls."""
    return LEAF if governed else ROOT_TENANT


def write_documents(directory: Path, *, provider_port: int, governed: bool) -> None:
    """Write one YAML file with everything into `directory`."""
    documents = [*_tenants(governed), *_providers(provider_port)]
    if governed:
        documents += [*_budgets(), *_policies()]
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "tenants.yaml").write_text(yaml.safe_dump_all(documents, sort_keys=False))


def _document(kind: str, name: str, spec: object, tenant: str = "") -> dict[str, object]:
    metadata = {"name": name, **({"tenant": tenant} if tenant else {})}
    return {"apiVersion": "harmost.dev/v1", "kind": kind, "metadata": metadata, "spec": spec}


def _tenants(governed: bool) -> Iterator[dict[str, object]]:
    for name in LEVELS if governed else LEVELS[:1]:
        yield _document("Tenant", name, {"in_flight_max": 1_000_000})
    yield _document("Tenant", ATTACKER, {"in_flight_max": ATTACKER_IN_FLIGHT_MAX})


def _providers(port: int) -> Iterator[dict[str, object]]:
    """A provider, its model and a profile for each HTTP version; the mock tells them by the preface."""
    for version in ("h1", "h2") if HTTP2_DECLARED else ("h1",):
        spec: dict[str, object] = {
            "codec": "openai",
            "base_url": f"http://127.0.0.1:{port}/v1",
            "region": "EEA",
            "dpa": True,
            # HTTP/1.1 carries one answer a connection; HTTP/2, as the Router uses it, up to 512.
            "connections_max": 4_096 if version == "h1" else 8,
        }
        if HTTP2_DECLARED:
            spec["http2"] = version == "h2"
        yield _document("Provider", f"mock-{version}", spec, ROOT_TENANT)
        model = {
            "provider": f"mock-{version}",
            "vendor_model_id": "gpt-4o-mini",
            "region": "EEA",
            "context_tokens_max": 1_000_000,
            "output_tokens_max": OUTPUT_TOKENS_MAX,
            "price": {"input": "0.15", "output": "0.60"},
        }
        yield _document("Model", f"model-{version}", model, ROOT_TENANT)
        profile = {"models": [f"model-{version}"], "output_tokens_max": OUTPUT_TOKENS_MAX}
        yield _document("MissionProfile", version, profile, ROOT_TENANT)


def _budgets() -> Iterator[dict[str, object]]:
    """Money, tokens and requests at five levels: fifteen counters that every call meets."""
    limits = [
        {"window": "month", "usd": "900000000"},
        {"window": "day", "tokens": 10**15},
        {"window": "hour", "requests": 10**12},
    ]
    for level, tenant in enumerate(LEVELS):
        yield _document("Budget", f"level-{level}", {"limits": limits}, tenant)


def _policies() -> Iterator[dict[str, object]]:
    """RULES rules, a fifth at each level, so that all of them bind the calls and none denies one."""
    each = RULES // len(LEVELS)
    for level, tenant in enumerate(LEVELS):
        rules = [_rule(level * each + i) for i in range(each)]
        yield _document("Policy", f"rules-{level}", {"rules": rules}, tenant)


def _rule(number: int) -> dict[str, object]:
    """Ten forms of rules as people write them, on the most asked-about facts."""
    n = number
    when = (
        f'purpose == "purpose-{n}"',
        f'"health" in data.classes && purpose == "advertising-{n}"',
        f'subject.region == "US-CA" && "opt-out-{n}" in subject.opt_outs',
        f'request.agent_id == "agent-{n}"',
        f'input.bytes > {1_000_000 + n} && request.profile == "profile-{n}"',
        f'"team" in labels && labels["team"] == "team-{n}"',
        f'decision.significant && !decision.human_review && purpose == "scoring-{n}"',
        f'request.principal == "principal-{n}" && !channel.tls',
    )
    form = n % 10
    if form < len(when):
        return {"name": f"rule-{n}", "when": when[form], "deny": f"forbidden by rule {n}"}
    if form == 8:
        return {
            "name": f"rule-{n}",
            "when": f'"personal" in data.classes && subject.region == "region-{n}"',
            "require": 'model.region in ["EEA"]',
        }
    return {"name": f"rule-{n}", "when": "", "require": f'model.name != "retired-{n}"'}
