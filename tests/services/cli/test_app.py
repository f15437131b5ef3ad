"""The command line itself: help, exit codes, failures in one line."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

COMMANDS = [
    "up",
    "router",
    "policy",
    "budget",
    "telemetry",
    "sandbox",
    "chat",
    "models",
    "profiles",
    "replay",
    "apply",
    "get",
    "delete",
    "usage",
    "records",
    "tail",
    "version",
]
GROUPS = (
    ("budget", "show"),
    ("key", "create"),
    ("trace", "generate"),
    ("trace", "show"),
    ("policy", "test"),
    ("policy", "lint"),
    ("policy", "explain"),
    ("policy", "status"),
    ("policy", "history"),
    ("policy", "rollback"),
    ("policy", "rotate-key"),
    ("policy", "kill"),
    ("policy", "restore"),
    ("policy", "kills"),
    ("policy", "replay"),
)


@pytest.mark.parametrize("words", [*((command,) for command in COMMANDS), *GROUPS])
def test_every_command_explains_itself(harmost: Any, words: tuple[str, ...]) -> None:
    ran = harmost(*words, "--help")
    assert ran.code == 0
    assert "Usage:" in ran.out


def test_every_answer_can_be_json(harmost: Any) -> None:
    services = {"router", "policy", "telemetry", "sandbox", "budget"}
    for words in [*((command,) for command in COMMANDS if command not in services), *GROUPS]:
        assert "--json" in harmost(*words, "--help").out, words


@pytest.mark.parametrize("words", [("nope",), ("chat",), ("usage", "--nope"), ("get", "cat")])
def test_what_is_not_understood_ends_with_two(harmost: Any, words: tuple[str, ...]) -> None:
    assert harmost(*words).code == 2


def test_version(harmost: Any) -> None:
    assert harmost("version").out.startswith("harmost ")
    assert set(harmost("version", "--json").json) == {"version"}


def test_without_a_key_it_says_where_one_may_be(harmost: Any) -> None:
    ran = harmost("models")
    assert ran.code == 1
    assert ran.err.startswith("error: no key: ")
    assert "--key-file" in ran.err


def test_a_mesh_that_is_not_there_is_named(harmost: Any) -> None:
    ran = harmost("models", "--key", "hm_x", "--address", "127.0.0.1:1", "--json")
    assert ran.code == 1
    assert ran.err == "error: nothing answers at `127.0.0.1:1`: is `harmost up` running?\n"
    assert ran.json["error"]["reason"] == "UNREACHABLE"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("models", "--key", "k", "--address", "nowhere"), "`nowhere` is no address"),
        (("apply", "-f", "/nope", "--key", "k"), "no file or directory at `/nope`"),
        (("replay", "/nope.csv", "--key", "k"), "`/nope.csv`: no such file or directory"),
        (("trace", "generate", "--duration", "soon"), "`soon` is no span of time"),
        (("trace", "generate", "--requests", "0"), "requests must be from 1"),
        (("trace", "generate", "--share", "acme"), "share `acme` is not TENANT:PROFILE"),
        (("usage", "--since", "soon", "--key", "k"), "`soon` is no time"),
        (("chat", "hello", "hi", "--label", "x", "--key", "k"), "label `x` is not NAME=VALUE"),
        (("router", "--listen", "0.0.0.0:50051"), "can be reached from other machines"),
        (("up", "--examples", "/nope"), "no file or directory at `/nope`"),
    ],
)
def test_wrong_values_are_refused_in_one_line(
    harmost: Any, words: tuple[str, ...], message: str
) -> None:
    ran = harmost(*words)
    assert ran.code == 1
    assert ran.err.startswith("error: ")
    assert message in ran.err
    assert ran.err.count("\n") == 1


def test_a_reader_that_leaves_is_no_traceback(tmp_path: Path) -> None:
    words = f"{sys.executable} -m harmost.services.cli trace generate --requests 20000 | head -1"
    ran = subprocess.run(words, shell=True, capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout.startswith("TIMESTAMP,")
    assert ran.stderr == ""


def test_help_does_not_import_what_is_heavy() -> None:
    code = (
        "import sys, json; sys.argv = ['harmost', '--help']\n"
        "from harmost.services.cli import main; main()\n"
        "heavy = {'grpc', 'aiohttp', 'google.protobuf', 'yaml', 'uvloop', 'apsw'}\n"
        "print(json.dumps(sorted(heavy & set(sys.modules))))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert json.loads(ran.stdout.splitlines()[-1]) == []


def test_shell_completion_knows_the_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_HARMOST_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "harmost re")
    monkeypatch.setenv("COMP_CWORD", "1")
    ran = subprocess.run(
        [Path(sys.executable).with_name("harmost")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert set(ran.stdout.split()) >= {"records", "replay"}


@pytest.mark.parametrize(
    ("service", "wanted"),
    [("policy", "--policy-signing-key"), ("router", "--policy-verify-key")],
)
def test_a_service_without_its_policy_key_says_which_flag_to_give(
    tmp_path: Path, service: str, wanted: str
) -> None:
    key = tmp_path / "service.key"
    key.write_text("k" * 40)
    command = [sys.executable, "-m", "harmost.services.cli", service, "--listen", "127.0.0.1:0"]
    ran = subprocess.run(
        [*command, "--data", str(tmp_path / "data"), "--service-key-file", str(key)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ran.returncode == 1
    assert f"give `{wanted}`" in ran.stderr


@pytest.mark.parametrize("service", ["policy", "budget", "telemetry"])
def test_a_service_without_its_keys_leaves_no_file(
    harmost: Any, tmp_path: Path, service: str
) -> None:
    ran = harmost(service, "--data", str(tmp_path / "data"))
    assert ran.code == 1
    assert "harmost up" in ran.err
    assert not list(tmp_path.rglob("*.db"))


def test_tests_at_a_path_that_is_not_there_are_said_to_be_missing(harmost: Any) -> None:
    ran = harmost("policy", "test", "-f", "nowhere.test.yaml")
    assert (ran.code, "no file or directory at `nowhere.test.yaml`" in ran.err) == (1, True)


def test_explain_charges_the_tenant_of_the_profile(harmost: Any) -> None:
    examples = str(Path(__file__).parents[3] / "examples")
    ran = harmost("policy", "explain", "hello", "-f", examples, "--fact", "purpose=social_scoring")
    assert "denied by prohibited-uses/no-social-scoring" in ran.out
