"""Everything that the processes of a mesh write and answer holds no secret, whatever a provider repeats."""

import contextlib
import json
import threading
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus
from urllib.request import urlopen

import pytest
from mesh import Mesh, eventually, running_mesh
from token_server import CLIENT_SECRET, PRIVATE_KEY, SUBJECT_TOKEN, serving_tokens

from harmost.client import HarmostError

VARIABLE_KEY = 'sk-var/+key=of "4711"?&~'
FILE_KEY = "sk-file-key-0815-abcdefghijkl"
AWS_SECRET = "aws/secret+key0123456789abcdefghijklmnop"
AWS_TOKEN = "aws-session-token//+=="
TOKEN = "x" * 20  # the end of every token of the token server
SECRETS = (
    *(VARIABLE_KEY, FILE_KEY, AWS_SECRET, AWS_TOKEN, CLIENT_SECRET, SUBJECT_TOKEN, TOKEN),
    *PRIVATE_KEY.splitlines()[1:3],
)
REFERENCES = {
    "variable": "credentials: 'env:SECRET_VARIABLE'",
    "header": "credentials: 'env:SECRET_VARIABLE', auth: x-api-key",
    "file": "credentials: 'file:{folder}/key'",
    "aws": "credentials: 'aws:', auth_scope: eu-west-1",
    "google": "credentials: 'google:{folder}/account.json'",
    "google-broken": "credentials: 'google:{folder}/broken.json'",
    "workload": "credentials: 'aws:web-identity', auth_scope: eu-west-1",
    "entra": "credentials: 'entra:'",
}
BEHAVIOURS = ("good", "json", "text", "stream", "html")


_SHOWN = ("authorization", "x-api-key", "x-amz-security-token")


class _Repeating(BaseHTTPRequestHandler):
    """A provider that answers as its path says, and repeats the credentials that it gets."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        shown = " ".join(self.headers.values())
        every = [
            shown,
            quote(shown, safe=""),
            quote_plus(shown),
            b64encode(shown.encode()).decode(),
        ]
        words = " ".join([*self.headers.values(), *every])
        kind, status = "application/json", 401
        error = json.dumps({"error": {"message": words, "type": "x"}, "all": words})
        match self.path.split("/")[1]:
            case "good":
                status, kind = 200, "text/event-stream"
                error = 'data: {"choices":[{"delta":{"content":"hi"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
            case "stream":
                status, kind, error = 200, "text/event-stream", f"data: {error}\n\n"
            case "text":
                kind, status, error = "text/plain", 400, words
            case "html":
                kind, status, error = "text/html", 200, f"<p>{words}"
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(error.encode())))
        self.end_headers()
        self.wfile.write(error.encode())

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def repeating() -> Iterator[str]:
    """The URL of a provider that repeats what it gets."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Repeating)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def mesh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Mesh, str]]:
    """A mesh whose processes are given every kind of secret, and the provider's URL."""
    with serving_tokens() as google, repeating() as url:
        account: dict[str, Any] = {
            "type": "service_account",
            "client_email": "a@b",
            "private_key": PRIVATE_KEY,
            "token_uri": f"{google.url}/google/token",
        }
        (tmp_path / "account.json").write_text(json.dumps(account))
        account["private_key"] = PRIVATE_KEY.replace("-----END", "broken")
        (tmp_path / "broken.json").write_text(json.dumps(account))
        (tmp_path / "key").write_text(FILE_KEY)
        (tmp_path / "jwt").write_text(SUBJECT_TOKEN)
        given = {
            "SECRET_VARIABLE": VARIABLE_KEY,
            "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
            "AWS_SECRET_ACCESS_KEY": AWS_SECRET,
            "AWS_SESSION_TOKEN": AWS_TOKEN,
            "AWS_ENDPOINT_URL_STS": google.url,
            "AWS_WEB_IDENTITY_TOKEN_FILE": str(tmp_path / "jwt"),
            "AWS_ROLE_ARN": "arn:aws:iam::1:role/unknown",  # refused, with what was shown
            "AZURE_TENANT_ID": "tenant",
            "AZURE_CLIENT_ID": "client",
            "AZURE_CLIENT_SECRET": CLIENT_SECRET,
            "AZURE_AUTHORITY_HOST": google.url.replace("http:", "https:"),  # no TLS there: it fails
        }
        for name, value in given.items():
            monkeypatch.setenv(name, value)
        with running_mesh(tmp_path / "data") as running:
            yield running, url


def documents(url: str, folder: Path) -> str:
    """A provider, a model and a profile for every reference and behaviour; one that no socket answers."""
    found: list[str] = []
    for name, reference in REFERENCES.items():
        said = reference.format(folder=folder)
        addresses = {each: f"{url}/{each}" for each in BEHAVIOURS}
        addresses["nobody"] = f"http://127.0.0.1:1/{name}"
        for behaviour, base_url in addresses.items():
            if name not in ("variable", "aws", "google") and behaviour not in ("good", "text"):
                continue
            each = f"{name}-{behaviour}"
            found += [
                f"kind: Provider\nmetadata: {{name: p-{each}}}\n"
                f"spec: {{codec: openai, base_url: '{base_url}', {said}}}\n",
                f"kind: Model\nmetadata: {{name: m-{each}}}\n"
                f"spec: {{provider: p-{each}, vendor_model_id: m, price: {{input: '1', output: '1'}}}}\n",
                f"kind: MissionProfile\nmetadata: {{name: {each}, tenant: acme}}\n"
                f"spec: {{models: [m-{each}]}}\n",
            ]
    return "---\n".join(f"apiVersion: harmost.dev/v1\n{each}" for each in found)


def profiles(text: str) -> list[str]:
    """The profiles of `documents`."""
    each = [line for line in text.splitlines() if "tenant: acme" in line]
    return [line.partition("name: ")[2].partition(",")[0] for line in each]


def forms(secret: str) -> Iterator[bytes]:
    """How a secret may be written."""
    yield secret.encode()
    yield json.dumps(secret)[1:-1].encode()
    for quoting in (quote, quote_plus):
        yield quoting(secret, safe="").encode()
    for lead, cut in ((0, 0), (1, 2), (2, 3)):
        for encode in (b64encode, urlsafe_b64encode):
            whole = encode(b"\0" * lead + secret.encode())
            yield whole[cut : (lead + len(secret)) * 8 // 6]


def told(where: str, data: bytes) -> list[str]:
    """Which secrets `data` holds."""
    return [f"{where}: {form!r}" for s in SECRETS for form in forms(s) if form in data]


def test_no_process_writes_or_answers_a_secret(mesh: tuple[Mesh, str], tmp_path: Path) -> None:
    running, url = mesh
    text = documents(url, tmp_path)
    running.apply(text)
    answers: list[str] = []
    with running.client() as client:
        wanted = set(profiles(text))
        eventually(lambda: wanted <= {each.name for each in client.profiles()}, what="profiles")
        for profile in sorted(wanted):
            try:
                answers.append(str(client.chat(profile, "hi")))
            except HarmostError as error:
                answers.append(f"{profile}: {error!r} {error} {vars(error)}")
    for bad in (FILE_KEY, f"aws:{AWS_SECRET}", f"google:{FILE_KEY}", f"entra:{CLIENT_SECRET}"):
        wrong = (
            "apiVersion: harmost.dev/v1\nkind: Provider\nmetadata: {name: wrong}\n"
            f"spec: {{codec: openai, base_url: 'http://h', credentials: '{bad}'}}\n"
        )
        with pytest.raises(Exception, match="is not a reference") as refused:
            running.apply(wrong)
        answers.append(str(refused.value))
    running.quiet()
    records = running.records()
    answers += [str(each) for each in records]
    answers += [str(each) for each in running.entries()]
    for words in (("get", "Provider", "-o", "yaml"), ("records",)):
        shown = running.harmost(*words, check=False)
        answers.append(shown.stdout + shown.stderr)
    with urlopen(f"http://{running.endpoints['metrics']}/metrics", timeout=10) as metrics:
        answers.append(metrics.read().decode())
    assert any("[secret]" in each for each in answers)  # a provider did repeat what it got
    assert any("hi" in each for each in answers[:10])
    assert len(records) >= 20
    found = [hits for each in answers if (hits := told("an answer", each.encode()))]
    files = [running.data.parent / f"{running.data.name}.log", *running.data.rglob("*")]
    read = [path for path in files if path.is_file()]
    assert len(read) > 10
    found += [hits for path in read if (hits := told(str(path), path.read_bytes()))]
    assert found == []
