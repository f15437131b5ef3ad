"""Values out of range and fields that contradict each other are refused where they stand."""

from collections.abc import Callable

import pytest

Problems = Callable[[str], list[str]]
Make = Callable[..., str]

SECRET = "sk-live-0123456789abcdef"
GOOD_HASH = "sha256:" + "0" * 64


def tell(problems: Problems, document: Make, kind: str, spec: str, **names: str) -> list[str]:
    found = problems(document(kind, f"spec: {spec}", **names))
    assert all(text.startswith("t.yaml:") for text in found)
    assert not any(SECRET in text for text in found)
    return found


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("base_url: ftp://x/y", "is no URL of a provider"),
        ("base_url: api.example.com", "is no URL of a provider"),
        ("base_url: 'http://'", "is no URL of a provider"),
        ("base_url: 'http://h:port'", "`base_url` is no URL"),
        (f"base_url: 'https://user:{SECRET}@h'", "`base_url` carries credentials"),
        ("base_url: 'https://h/?a=b'", "has a query or fragment"),
        (f"base_url: http://h, credentials: {SECRET}", "`credentials` is not a reference: write `env:NAME`"),
        ("base_url: http://h, credentials: 'env:'", "`credentials` is not a reference"),
        ("base_url: http://h, credentials: 'aws:profile/'", "`credentials` is not a reference"),
        (f"base_url: http://h, credentials: 'aws:{SECRET}'", "`credentials` is not a reference"),
        (f"base_url: http://h, credentials: 'google:{SECRET}'", "`credentials` is not a reference"),
        (f"base_url: http://h, credentials: 'entra:{SECRET}'", "`credentials` is not a reference"),
        (f"base_url: http://h, credentials: 'env:{SECRET} '", "`credentials` is not a reference"),
        ("base_url: http://h, credentials: 'file:" + "x" * 4_100 + "'", "`credentials` is not a reference"),
        ("base_url: http://h, credentials: 'aws:'", "no region to sign for: write `auth_scope` like `eu-west-1/bedrock`"),
        (f"base_url: http://h, credentials: 'aws:', auth_scope: {SECRET}+", "no region to sign for"),
        ("base_url: http://h, credentials: 'aws:', auth_scope: eu-west-1, auth: bearer", "keys from `aws:` sign requests"),
        ("base_url: 'https://bedrock-runtime.us-east-1.amazonaws.com', regions: {EEA: http://x}, credentials: 'aws:'", "no region to sign for"),
        ("base_url: http://h, credentials: 'env:K', auth: aws-sigv4", '`auth: aws-sigv4` signs with keys of AWS: write `credentials: "aws:"`'),
        ("base_url: http://h, credentials: 'google:', auth: api-key", "tokens from `google:` are bearer tokens"),
        (f"base_url: http://h, credentials: 'entra:', auth_scope: '{SECRET}'", "`auth_scope` is no scope of a token"),
        ("base_url: http://h, credentials: 'env:K', auth_scope: us-east-1", "`auth_scope` is for `aws:`, `google:` and `entra:`"),
        ("base_url: http://h, auth: basic", "`auth` is none of bearer, api-key, x-api-key, x-goog-api-key, aws-sigv4: write one"),
        (f"base_url: http://h, auth: {SECRET}", "`auth` is none of bearer"),
        (f"base_url: http://h, headers: {{Authorization: Bearer {SECRET}}}", "header `Authorization` carries a secret"),
        ("base_url: http://h, headers: {x: \"a\\r\\nb\"}", "header `x` cannot be sent"),
        ("base_url: http://h, headers: {'a b': c}", "header `a b` cannot be sent"),
        ("base_url: http://h, connect_timeout_ms: 0", "`connect_timeout_ms` 0 is out of range: write at least 1"),
        ("base_url: http://h, idle_timeout_ms: -5", "`idle_timeout_ms` -5 is out of range"),
        ("base_url: http://h, total_timeout_ms: 100", "`total_timeout_ms` is less than a timeout within it"),
        ("base_url: http://h, connections_max: 0", "`connections_max` 0"),
        ("base_url: http://h, ping_after_ms: 10", "`ping_after_ms` 10 is out of range: write at least 1000"),
        ("base_url: http://h, ping_timeout_ms: 0", "`ping_timeout_ms` 0 is out of range"),
        ("base_url: http://h, regions: {EEA: ftp://x}", "the address of `EEA` `ftp://x` is no URL"),
        (f"base_url: http://h, regions: {{EEA: 'http://u:{SECRET}@x'}}", "the address of `EEA` carries credentials"),
        ("base_url: http://h, regions: {'': http://x}", "a region has no name: write one like `EEA`"),
        ("base_url: http://h, region: US, regions: {US: http://x}", "`regions` names `US`, which `base_url` is in"),
        ("base_url: http://h, regions: {" + ", ".join(f"r{n}: http://x" for n in range(65)) + "}", "`regions` has 65 entries, more than 64"),
        ("base_url: http://h, retention_days: -1", "`retention_days` -1"),
        ("base_url: http://h, api_version: '1'", "codec `openai` has one `api_version`: remove it"),
        ("codec: anthropic, base_url: http://h, api_version: '2024-01-01'", "codec `anthropic` does not speak `api_version` `2024-01-01`: use `2023-06-01` or `2026-10-21`"),
        ("base_url: http://h, usage_path: usage", "`usage_path` is no path"),
    ],
)  # fmt: skip
def test_provider(problems: Problems, document: Make, spec: str, expected: str) -> None:
    said = spec if spec.startswith("codec:") else f"codec: openai, {spec}"
    (found,) = tell(problems, document, "Provider", f"{{{said}}}")
    assert expected in found


@pytest.mark.parametrize("version", ["2023-06-01", "2026-10-21"])
def test_anthropic_has_two_versions(problems: Problems, document: Make, version: str) -> None:
    spec = f"{{codec: anthropic, base_url: 'https://h', api_version: '{version}'}}"
    assert tell(problems, document, "Provider", spec) == []


@pytest.mark.parametrize(
    "said",
    [
        "credentials: 'env:KEY', auth: api-key",
        "credentials: 'file:/run/key', auth: x-goog-api-key",
        "credentials: 'aws:', auth_scope: eu-west-1, auth: aws-sigv4",
        "credentials: 'aws:profile/prod', auth_scope: eu-west-1/bedrock",
        "credentials: 'aws:web-identity', auth_scope: eu-west-1",
        "credentials: 'aws:instance', auth_scope: eu-west-1",
        "credentials: 'google:'",
        "credentials: 'google:/run/key.json', auth: bearer",
        "credentials: 'google:instance'",
        "credentials: 'entra:', auth_scope: 'https://ai.azure.com/.default'",
        "credentials: 'entra:instance'",
    ],
)
def test_references_to_credentials(problems: Problems, document: Make, said: str) -> None:
    spec = f"{{codec: openai, base_url: 'https://h', {said}}}"
    assert tell(problems, document, "Provider", spec) == []


def test_pings_can_be_left_out(problems: Problems, document: Make) -> None:
    spec = "{codec: openai, base_url: 'https://h', ping_after_ms: 0}"
    assert tell(problems, document, "Provider", spec) == []


@pytest.mark.parametrize("http2", ["auto", "true", "false"])
def test_http2_is_a_choice_of_three(problems: Problems, document: Make, http2: str) -> None:
    spec = f"{{codec: openai, base_url: 'https://h', http2: {http2}}}"
    assert tell(problems, document, "Provider", spec) == []
    (found,) = tell(problems, document, "Provider", spec.replace(http2, "maybe"))
    assert "http2" in found


@pytest.mark.parametrize("reference", ["env:OPENAI_API_KEY", "file:/run/secrets/key"])
def test_credentials_are_a_reference(problems: Problems, document: Make, reference: str) -> None:
    spec = f"{{codec: openai, base_url: 'https://h', credentials: '{reference}'}}"
    assert tell(problems, document, "Provider", spec) == []


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("vendor_model_id: ''", "`vendor_model_id` is empty"),
        ("vendor_model_id: v, context_tokens_max: 0, output_tokens_max: 0", "`context_tokens_max` 0"),
        ("vendor_model_id: v, context_tokens_max: 10, output_tokens_max: 20", "20 is more than `context_tokens_max` 10"),
        ("vendor_model_id: v, capabilities: []", "without capabilities"),
        ("vendor_model_id: v, price: {input: cheap, output: '1'}", "`price`: `cheap` is not a decimal number"),
        ("vendor_model_id: v, price: {input: '-1', output: '1'}", "`-1` is not a decimal number"),
        ("vendor_model_id: v, price: {input: '0.0000001', output: '1'}", "more than 6 decimals"),
        ("vendor_model_id: v, price: cheap", "`spec.price` cannot be `cheap`: write one of auto, unknown"),
        ("vendor_model_id: v, price: 3", "`spec.price` cannot be `3`: write one of auto, unknown"),
        ("vendor_model_id: v, price: {input: 3, output: '1'}", "`spec.price.input` must be text, not a bare number"),
        ("vendor_model_id: v, price: [{input: '3'}]", "`spec.price[0].output` is missing: add it"),
        ("vendor_model_id: v, price: []", "`price`: 0 prices: state 1 to 100"),
        ("vendor_model_id: v, price: [{from: tomorrow, input: '3', output: '1'}]", "`price`: `from` `tomorrow` is no day"),
        ("vendor_model_id: v, price: {input: '-3', output: '1'}", "`price`: `-3` is not a decimal number"),
        ("vendor_model_id: v, price: {input: '99999999', output: '1'}", "state less"),
        ("vendor_model_id: v, price: {input: '3', output: '1', tools: {t: free}}", "`price`: `free` is not a decimal number"),
        ("vendor_model_id: v, service_tier: flex, price: {input: '3', output: '1'}", "says nothing of the service tier `flex`: add it to `service_tiers`"),
        ("vendor_model_id: v, tokenizer: 'file:/a'", "only a model of the deployment may name"),
        ("vendor_model_id: v, tokenizer: gpt-4o", "`tokenizer` is no reference: write `file:/PATH/tokenizer.json`"),
        ("vendor_model_id: v, tokenizer: 'file:here.json'", "`tokenizer` is no reference"),
        ("vendor_model_id: v, tokenizer: \"file:/a\\nb\"", "`tokenizer` is no reference"),
        ("vendor_model_id: v, server_tools: {web_search: {uses_max: -1}}", "`uses_max` -1"),
        ("vendor_model_id: v, server_tools: {web_search: {uses_max: 1000001}}", "at most 1000000"),
        ("vendor_model_id: v, server_tools: {web_search: {tokens_max_each: -1}}", "`tokens_max_each` -1"),
        ("vendor_model_id: v, server_tools: [web_search]", "server_tools"),
        ("vendor_model_id: v, service_tier: batch", "`spec.service_tier` cannot be `batch`"),
    ],
)  # fmt: skip
def test_model(problems: Problems, document: Make, spec: str, expected: str) -> None:
    found = tell(problems, document, "Model", f"{{provider: vendor, {spec}}}")
    assert any(expected in text for text in found)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("{}", "neither `steps` nor `models`"),
        ("{models: [small], steps: [{name: s, models: [small]}]}", "both `steps` and `models`"),
        ("{system: hi, steps: [{name: s, models: [small]}]}", "`system` goes with `models`"),
        ("{steps: [{name: s, models: []}]}", "step has no model"),
        ("{steps: [{name: s, models: [small]}, {name: s, models: [small]}]}", "another step has this name"),
        ("{steps: [{name: 's t', models: [small]}]}", "t.yaml:4:23 step `s t`: `s t` is no step name"),
        ("{models: [small, small]}", "t.yaml:4:24 model `small` is named twice"),
        ("{models: [small], output_tokens_max: 0}", "`output_tokens_max` 0"),
        ("{models: [small], input_bytes_max: 999999999}", "at most 8388608"),
        ("{models: [small], attempts_max: 0}", "`attempts_max` 0"),
        ("{models: [small], snapshot_age_max_s: 0}", "`snapshot_age_max_s` 0"),
        ("{models: [small], sla: {ttft_p95_ms: 9, total_p95_ms: 5}}", "the first token may take longer"),
        ("{models: [small], sla: {ttft_p95_ms: -1}}", "`ttft_p95_ms` -1"),
        ("{models: [small], hop: {on: [stall]}}", "`stall` without `stall_ms`"),
        ("{models: [small], cost: {usd_per_1k_tokens_max: '2e-2'}}", "`2e-2` is not a decimal number"),
        ("{models: [small], cost: {usd_per_1k_tokens_max: '0'}}", "is not above 0"),
        ("{models: [small], cost: {reserve: mission}}", "`reserve: mission` has nothing to hold"),
        ("{models: [small], cost: {usd_max: '1', reserve: step}}", "`step`"),
        ("{models: [small], memory: {store: s, turns_max: 0}}", "`turns_max` 0"),
        ("{models: [small], memory: {store: s, retention: a month}}", "`a month` is no duration"),
    ],
)  # fmt: skip
def test_profile(problems: Problems, document: Make, spec: str, expected: str) -> None:
    found = tell(problems, document, "MissionProfile", spec)
    assert any(expected in text for text in found), found


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("{limits: []}", "a budget without limits bounds nothing"),
        ("{limits: [{window: day}]}", "this has none above 0"),
        ("{limits: [{window: day, usd: '1', tokens: 5}]}", "this has `usd` and `tokens`"),
        ("{limits: [{window: day, usd: '1.0.0'}]}", "`1.0.0` is not a decimal number"),
        ("{limits: [{window: day, usd: '0.00'}]}", "`usd` `0.00` is not above 0"),
        ("{limits: [{window: day, tokens: -1}]}", "`tokens` -1 is out of range"),
        ("{limits: [{window: day, tokens: 1, warn_at_percent: 101}]}", "`warn_at_percent` 101"),
        ("{limits: [{window: decade, tokens: 1}]}", "`spec.limits[0].window` cannot be `decade`"),
        ("{limits: [{window: day, usd: '1'}, {window: day, usd: '2'}]}", "t.yaml:4:42 a second limit in `usd` a `day`"),
        ("{agent: a, end_user: b, limits: [{window: day, tokens: 1}]}", "`agent` and `end_user` are both given"),
    ],
)  # fmt: skip
def test_budget(problems: Problems, document: Make, spec: str, expected: str) -> None:
    found = tell(problems, document, "Budget", spec)
    assert any(expected in text for text in found), found


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("{in_flight_max: 0}", "`in_flight_max` 0"),
        ("{principals: [{name: ''}]}", "has no name of its own"),
        ("{principals: [{name: a}, {name: a}]}", "has no name of its own"),
        ("{principals: [{name: a, roles: [service]}]}", "`spec.principals[0].roles[0]` cannot be `service`"),
        (f"{{principals: [{{name: a, keys: [{{id: x, hash: '{GOOD_HASH}'}}]}}]}}", "`id` is not a key's id"),
        (f"{{principals: [{{name: a, keys: [{{id: 0123456789ab, hash: {SECRET}}}]}}]}}", "never the key itself"),
        (f"{{principals: [{{name: a, keys: [{{id: 0123456789ab, hash: '{GOOD_HASH}', expires: soon}}]}}]}}", "`soon` is no time"),
        (f"{{principals: [{{name: a, keys: [{{id: 0123456789ab, hash: '{GOOD_HASH}', expires: 2027-01-01}}]}}]}}", "is no time"),
    ],
)  # fmt: skip
def test_tenant(problems: Problems, document: Make, spec: str, expected: str) -> None:
    found = tell(problems, document, "Tenant", spec, name="acme/a")
    assert any(expected in text for text in found), found


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("{name: r}", "rule has no effect"),
        ("{name: r, deny: no, allow: true}", "`deny` and `allow`"),
        ("{name: r, deny: no, when: 'purpos == \"x\"'}", "t.yaml:4:43 rule `r`: "),
        ("{name: r, deny: no, when: purpose == 3}", "t.yaml:4:50 rule `r`: "),
        ("{name: r, redact: {classes: [shoe_size]}}", "`shoe_size` cannot be redacted"),
        ("{name: r, require: model.region}", "t.yaml:4:35 rule `r`: "),
    ],
)
def test_policy(problems: Problems, document: Make, rule: str, expected: str) -> None:
    found = tell(problems, document, "Policy", f"{{rules: [{rule}]}}")
    assert any(expected in text for text in found), found


def test_condition_in_a_block_is_placed_on_its_line(problems: Problems, document: Make) -> None:
    spec = "spec:\n  rules:\n    - name: r\n      deny: x\n      when: |\n        true &&\n        purpos\n"
    (found,) = problems(document("Policy", spec))
    assert found.startswith("t.yaml:10:")


def test_step_condition_over_an_unknown_output_is_placed(
    problems: Problems, document: Make
) -> None:
    spec = "spec:\n  steps:\n    - {name: a, models: [small]}\n    - name: b\n      models: [small]\n      when: steps.a.score > 1\n"
    (found,) = problems(document("MissionProfile", spec))
    assert found.startswith("t.yaml:9:20 step `b`: ")


def test_a_service_tier_goes_only_to_a_codec_that_has_one(
    problems: Problems, document: Make
) -> None:
    provider = document("Provider", "spec: {codec: anthropic, base_url: http://h}", name="p")
    model = document(
        "Model", "spec: {provider: p, vendor_model_id: m, service_tier: flex}", name="m"
    )
    (found,) = problems(f"{provider}---\n{model}")
    assert "`service_tier` `flex` cannot be asked of codec `anthropic`: remove it" in found


def test_a_price_list_is_one_that_is_built_in(problems: Problems, document: Make) -> None:
    provider = document(
        "Provider", "spec: {codec: openai, base_url: http://h, price_list: acme}", name="p"
    )
    model = document("Model", "spec: {provider: p, vendor_model_id: m}", name="m")
    (found,) = problems(f"{provider}---\n{model}")
    assert "the built-in list has no vendor `acme`: it knows anthropic, " in found


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("retires_on: soon", "`retires_on` `soon` is no day: write it like 2027-01-31"),
        ("deprecated_on: 2026-13-01", "`deprecated_on` `2026-13-01` is no day"),
        ("deprecated_on: 2027-02-01, retires_on: 2027-01-01", "is after `retires_on` 2027-01-01"),
        ("replacement: m", "`replacement` names the model itself: name another one"),
        ("replacement: nn", "model `nn` does not exist"),
        ("status: old", "`spec.status` cannot be `old`: write one of active, canary, deprecated"),
    ],
)
def test_the_end_of_a_model_is_two_days_and_another_model(
    problems: Problems, document: Make, said: str, expected: str
) -> None:
    provider = document("Provider", "spec: {codec: openai, base_url: http://h}", name="p")
    model = document("Model", f"spec: {{provider: p, vendor_model_id: m, {said}}}", name="m")
    found = problems(f"{provider}---\n{model}")
    assert any(expected in text for text in found), found
