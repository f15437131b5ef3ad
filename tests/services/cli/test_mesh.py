"""The commands against a real mesh, every service a process of its own."""

import json
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

EXAMPLES = Path(__file__).parents[3] / "examples"
TENANT = "acme/retail/support"
SPREAD_S = 10  # snapshots and records reach the other services within this


def until_done(run: Callable[[], Any]) -> Any:
    """What `run` did once it ended well, or last when time is over."""
    deadline = time.monotonic() + SPREAD_S
    while (ran := run()).code != 0 and time.monotonic() < deadline:
        time.sleep(0.05)
    return ran


def test_chat_streams_the_answer_and_tells_what_it_cost(at: Any) -> None:
    ran = at("chat", "hello", "[[sandbox output_tokens=5]]", "What", "is", "a", "harmost?")
    assert ran.code == 0
    assert len(ran.out) == 21  # five tokens of four bytes, and a line end
    assert "sandbox-small" in ran.err
    assert "5 out tokens" in ran.err
    assert "$0.0000" in ran.err
    assert "allowed" in ran.err


def test_chat_says_which_steps_ran_and_what_was_redacted(at: Any) -> None:
    ran = at("chat", "customer-support-escalation", "My card 4111 1111 1111 1111 is lost")
    assert ran.code == 0
    assert "step empathy on claude-sonnet" in ran.err
    assert "eu-personal-data/no-card-numbers" in ran.err
    assert "redacted 1 pan" in ran.err


def test_chat_as_json_is_one_event_a_line(at: Any) -> None:
    ran = at("chat", "hello", "hi", "--json")
    events = [json.loads(line) for line in ran.out.splitlines()]
    assert events[0]["event"] == "Started"
    assert events[-1]["event"] == "Finished"
    assert events[-1]["cost_usd_nanos"] > 0


def test_an_unknown_profile_is_refused_with_what_to_do(at: Any) -> None:
    ran = at("chat", "nope", "hi")
    assert ran.code == 1
    assert "`nope`" in ran.err


def test_models_and_profiles(at: Any) -> None:
    names = {model["name"] for model in at("models", "--json").json}
    assert "sandbox-small" in names
    assert not any(name.startswith("openai/") for name in names)  # vendors need keys
    assert "hello" in {profile["name"] for profile in at("profiles", "--json").json}
    assert "replay-search" in at("profiles").out


ENDING = """\
apiVersion: harmost.dev/v1
kind: Model
metadata: {name: ending, tenant: acme}
spec:
  provider: sandbox
  vendor_model_id: sandbox-small
  version: "1.5"
  price: {input: "0.15", output: "0.60"}
  certifications: [iso-27001]
  quality: {chat: 7}
  deprecated_on: "2020-01-01"
  replacement: sandbox-small
---
apiVersion: harmost.dev/v1
kind: MissionProfile
metadata: {name: ending, tenant: acme}
spec: {models: [ending]}
"""


def test_a_model_that_ends_is_told_of_when_applied_listed_and_called(
    at: Any, tmp_path: Path
) -> None:
    warning = "model `ending` is deprecated since 2020-01-01: use `sandbox-small`"
    file = tmp_path / "ending.yaml"
    file.write_text(ENDING, encoding="utf-8")
    for words in (("--validate-only",), ()):
        assert f"warning: {warning}" in at("apply", "-f", str(file), *words).err
    try:
        called = until_done(lambda: at("chat", "ending", "hi", "--json"))
        assert json.loads(called.out.splitlines()[-1])["warnings"] == [warning]
        listed = {one["name"]: one for one in at("models", "list", "--json").json}
        providers, models = (str(EXAMPLES / name) for name in ("providers.yaml", "models.yaml"))
        words = ("models", "list", "--json", "-f", str(file), "-f", providers, "-f", models)
        documented = {one["name"]: one for one in at(*words).json}
        assert documented == {name: listed[name] for name in documented}
        assert documented["ending"]["region"] == "US"  # its provider's
        assert listed["ending"]["warning"] == warning
        assert listed["ending"]["certifications"] == ["iso-27001"]
        assert listed["ending"]["quality"] == {"chat": 7}
        assert listed["sandbox-small"]["warning"] == ""
        assert f"warning: {warning}" in at("models").err
        assert "sandbox-small" in at("models", "compare", "ending", "sandbox-small").out
        assert at("models", "diff", "--json").json["models"] == len(listed)
    finally:
        at("delete", "missionprofile", "ending")
        at("delete", "model", "ending")


def test_budgets_are_a_tree(at: Any) -> None:
    ran = at("budget", "show")
    assert ran.code == 0
    assert "acme-monthly" in ran.out
    names = {budget["name"] for budget in at("budget", "show", TENANT, "--json").json}
    assert any("support" in name for name in names)
    assert not any("monthly" in name for name in names)


def test_records_usage_and_one_record(at: Any) -> None:
    events = at("chat", "hello", "hi", "--json").out.splitlines()
    record_id = json.loads(events[-1])["record_id"]
    shipped = until_done(lambda: at("records", record_id))
    assert shipped.json["status"] == "completed"
    assert record_id in {record["record_id"] for record in at("records", "--json").json}
    usage = at("usage", "--by", "model", "--since", "1h", "--json").json
    row = next(row for row in usage["rows"] if row["keys"] == ["sandbox-small"])
    assert row["cost_usd_nanos"] > 0
    assert at("usage").code == at("records", "--status", "completed").code == 0
    drawn = at("usage", "--by", "hour", "--plot", "cost", "--model", "sandbox-small")
    assert "█" in drawn.out
    call = at("trace", record_id)
    assert call.code == 0
    assert [
        name
        for name in ("admitted, decided", "sandbox-small at sandbox", "first token", "end")
        if f"\n{name} " in call.out
    ] == ["admitted, decided", "sandbox-small at sandbox", "first token", "end"]
    spans = at("trace", record_id, "--json").json["spans"]
    assert [span["kind"] for span in spans] == ["harmost", "harmost", "attempt", "harmost"]
    assert all(span["duration_ns"] > 0 for span in spans)


@pytest.mark.parametrize(
    ("asked", "known"),
    [
        (("--model", "sandbox-smal"), "`sandbox-small`"),
        (("--profile", "nope"), "`hello`"),
        (("--tenant", "acme/retial"), "tenant `acme/retial`: there is `acme"),
        (("--label", "team=blue"), "label `team` `blue`: there is none yet"),
    ],
)
def test_usage_of_a_name_that_nobody_used_says_which_there_are(
    at: Any, asked: tuple[str, str], known: str
) -> None:
    assert at("chat", "hello", "hi").code == 0
    until_done(lambda: at("usage", "--profile", "hello"))
    ran = at("usage", *asked)
    assert ran.code == 1
    assert known in ran.err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("usage", "--by", "tenantt"), "label:NAME"),
        (("usage", "--label", "team"), "NAME=VALUE"),
        (("usage", "--since", "1h", "--until", "2h"), "`2h` is not after `1h`"),
        (("usage", "--by", "label:"), "label:NAME"),
        (("usage", "--levels", "9"), "less than or equal to 8"),
        (("usage", "--plot", "money"), "cost"),
        (("tail", "--status", "denied"), "policy_denied"),
        (("trace", "nope"), "32 hexadecimal digits"),
        (("trace", "0" * 32), "there is no record"),
    ],
)
def test_what_cannot_be_asked_is_told_what_can(at: Any, words: tuple[str, ...], told: str) -> None:
    ran = at(*words)
    assert ran.code != 0
    assert told in " ".join(ran.err.replace("│", " ").split())


def test_tail_follows_records_as_they_come(at: Any, mesh: Path) -> None:
    words = [sys.executable, "-m", "harmost.services.cli", "tail", "--json", "--data", str(mesh)]
    # Whoever runs the tests in the background has Ctrl-C ignored, and children inherit that.
    with subprocess.Popen(
        words,
        stdout=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - one thread
    ) as tail:
        try:
            assert tail.stdout is not None
            deadline = time.monotonic() + 3 * SPREAD_S
            # It follows from when it is connected: call until it has heard one.
            while not select.select([tail.stdout], [], [], 0.2)[0]:
                assert time.monotonic() < deadline
                assert at("chat", "hello", "hi").code == 0
            told = json.loads(tail.stdout.readline())
            assert (told["record"]["profile"], told["missed"]) == ("hello", 0)
            tail.send_signal(signal.SIGINT)
            assert tail.wait(SPREAD_S) == 0
        finally:
            tail.kill()


def test_documents_are_applied_shown_and_deleted(at: Any, tmp_path: Path) -> None:
    file = tmp_path / "profile.yaml"
    file.write_text(
        "apiVersion: harmost.dev/v1\nkind: MissionProfile\n"
        "metadata: {name: by-test, tenant: acme}\nspec: {models: [sandbox-small]}\n"
    )
    checked = at("apply", "-f", str(file), "--validate-only", "--json")
    assert (checked.code, checked.json["changes"][0]["change"]) == (0, "added")
    assert at("get", "missionprofile", "by-test").code == 1
    assert "+ MissionProfile by-test added" in at("apply", "-f", str(tmp_path)).out
    kept = yaml.safe_load(at("get", "MissionProfiles", "by-test", "-o", "yaml").out)
    assert kept["spec"] == {"models": ["sandbox-small"]}
    assert at("delete", "missionprofile", "by-test").code == 0
    assert at("get", "missionprofile", "by-test").code == 1


def test_a_wrong_document_is_refused_at_its_place(at: Any, tmp_path: Path) -> None:
    file = tmp_path / "wrong.yaml"
    file.write_text("apiVersion: harmost.dev/v1\nkind: Cat\nmetadata: {name: tom}\n")
    ran = at("apply", "-f", str(file), "--json")
    assert ran.code == 1
    assert f"{file}:2:" in ran.err
    assert ran.json["error"]["reason"] == "INVALID_DOCUMENTS"


def test_a_created_key_calls_and_only_its_hash_is_kept(
    at: Any, harmost: Any, mesh: Path, tmp_path: Path
) -> None:
    out = tmp_path / "app.key"
    words = ("--tenant", TENANT, "--principal", "cli-test", "--role", "caller")
    assert at("key", "create", *words, "--out", str(out)).code == 0
    assert out.stat().st_mode & 0o777 == 0o600
    key = out.read_text().strip()
    document = at("get", "tenant", TENANT, "-o", "yaml").out
    assert key.split("_")[1] in document
    assert key.split("_", 2)[2] not in document
    words = ("profiles", "--data", str(mesh), "--key-file", str(out), "--json")
    ran = until_done(lambda: harmost(*words))
    assert {profile["name"] for profile in ran.json} >= {"customer-support-escalation"}
    refused = harmost("usage", "--data", str(mesh), "--key-file", str(out))
    assert (refused.code, "needs one of the roles" in refused.err) == (1, True)
    assert "service" not in refused.err.partition("roles")[2].partition(":")[0]  # nobody has it


def test_a_key_without_a_role_for_a_new_principal_is_refused(at: Any) -> None:
    ran = at("key", "create", "--tenant", TENANT, "--principal", "nobody")
    assert ran.code == 1
    assert "--role" in ran.err
    ran = at("key", "create", "--tenant", TENANT, "--principal", "nobody", "--role", "king")
    assert "role `king` is not known" in ran.err


def test_replay_proves_its_cost_to_the_nano_dollar(at: Any, harmost: Any, tmp_path: Path) -> None:
    trace = tmp_path / "trace.csv"
    share = ("--share", f"{TENANT}:hello:1", "--share", "acme/finance:replay-finance:2")
    made = ("trace", "generate", "--requests", "40", "--duration", "40s", "--seed", "3")
    assert harmost(*made, "-o", str(trace), *share).code == 0
    found = at("replay", str(trace), "--speed", "20", "--json")
    assert found.code == 0, found.err
    told = found.json
    assert told["ok"] == told["requests"] == 40
    assert told["proof"]["holds"]
    assert told["proof"]["billed"] == told["proof"]["settled"]
    assert told["proof"]["billed"]["usd_nanos"] == told["total"]["usd_nanos"] > 0
    assert set(told["by_tenant"]) == {TENANT, "acme/finance"}


def test_replay_shows_tables_and_counts_denials(at: Any, tmp_path: Path) -> None:
    trace = tmp_path / "trace.csv"
    trace.write_text(
        "TIMESTAMP,ContextTokens,GeneratedTokens,Tenant,Profile\n"
        "2026-01-01 00:00:00,100,20,,hello\n"
        "2026-01-01 00:00:01,100,20,,no-such-profile\n"
    )
    ran = at("replay", str(trace), "--speed", "10")
    assert ran.code == 1
    assert "failed: NOT_FOUND" in ran.out
    assert "proven" in ran.out


def test_replay_without_its_profiles_says_so(at: Any, tmp_path: Path) -> None:
    trace = tmp_path / "trace.csv"
    trace.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n2026-01-01 00:00:00,100,20\n")
    ran = at("replay", str(trace), "--profile", "nope")
    assert ran.code == 1
    assert "no profile `nope`" in ran.err


@pytest.mark.parametrize("words", [("get", "all"), ("get", "policies", "-o", "yaml")])
def test_all_documents_can_be_listed(at: Any, words: tuple[str, ...]) -> None:
    ran = at(*words)
    assert ran.code == 0
    assert "eu-personal-data" in ran.out
