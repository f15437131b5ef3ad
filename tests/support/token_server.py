"""The token servers of the clouds, on loopback: they check what they are shown, and give tokens that expire."""

import base64
import datetime
import json
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from certificates import certificate
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

__all__ = ["CLIENT_SECRET", "PRIVATE_KEY", "ROLE", "SUBJECT_TOKEN", "TokenServer", "serving_tokens"]

SUBJECT_TOKEN = "subject-token-eyJ0ZXN0"  # what a platform gives a workload to show
CLIENT_SECRET = "entra~client.secret/0815"
ROLE = "arn:aws:iam::123456789012:role/caller"
_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PRIVATE_KEY = _KEY.private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
).decode()


class TokenServer:
    """What it was asked, and how it answers: its tokens are numbered."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.lifetime_s = 3600
        self.broken = (
            ""  # an error code, which it answers with instead, repeating what it was shown
        )
        self.given = 0
        self.url = ""
        self.scopes: list[str] = []

    def answer(self, method: str, path: str, form: Mapping[str, str]) -> tuple[int, str, str]:
        """Status, media type and body of an answer."""
        self.asked.append(f"{method} {path.partition('?')[0]}")
        if path == "/" and form.get("Action") == "AssumeRoleWithWebIdentity":
            return self._sts(form)
        if path.startswith("/latest/"):
            return self._instance(path)
        if path.startswith("/computeMetadata/"):
            return self._google_instance(path)
        if path == "/google/token":
            return self._google(form)
        if path == "/google/sts":
            return self._exchange(form)
        if path.endswith("/.well-known/openid-configuration"):
            return self._json(200, self._entra_configuration())
        if path == "/tenant/oauth2/v2.0/token":
            return self._entra(form)
        return self._json(404, {"error": "not_found"})

    def _token(self) -> str:
        self.given += 1
        return f"token-{self.given}-{'x' * 20}"

    def _json(self, status: int, body: Any) -> tuple[int, str, str]:
        return status, "application/json", json.dumps(body)

    def _expires(self) -> str:
        ends = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=self.lifetime_s)
        return ends.strftime("%Y-%m-%dT%H:%M:%SZ")

    def _sts(self, form: Mapping[str, str]) -> tuple[int, str, str]:
        shown = form["WebIdentityToken"]
        if self.broken or shown != SUBJECT_TOKEN or form["RoleArn"] != ROLE:
            code = self.broken or "InvalidIdentityToken"
            body = f"<Code>{code}</Code><Message>not good: {shown}</Message>"
            return 400, "text/xml", f"<ErrorResponse><Error>{body}</Error></ErrorResponse>"
        body = (
            f"<AccessKeyId>AKID</AccessKeyId><SecretAccessKey>sts-secret</SecretAccessKey>"
            f"<SessionToken>{self._token()}</SessionToken><Expiration>{self._expires()}</Expiration>"
        )
        name = "AssumeRoleWithWebIdentity"
        return (
            200,
            "text/xml",
            f"<{name}Response><{name}Result><Credentials>{body}</Credentials></{name}Result></{name}Response>",
        )

    def _instance(self, path: str) -> tuple[int, str, str]:
        roles = "/latest/meta-data/iam/security-credentials/"
        if path == "/latest/api/token":
            return 200, "text/plain", "imds"
        if path == roles:
            return 200, "text/plain", "role"
        return self._json(
            200,
            {
                "Code": "Success",
                "AccessKeyId": "AKIDI",
                "SecretAccessKey": "imds-secret",
                "Token": self._token(),
                "Expiration": self._expires(),
            },
        )

    def _google_instance(self, path: str) -> tuple[int, str, str]:
        if path.partition("?")[0].endswith("/token"):
            return self._json(200, {"access_token": self._token(), "expires_in": self.lifetime_s})
        return self._json(200, {"email": "a@b", "scopes": [], "aliases": ["default"]})

    def _google(self, form: Mapping[str, str]) -> tuple[int, str, str]:
        head, claims, signature = form["assertion"].split(".")
        said = json.loads(_decoded(claims))
        try:
            _KEY.public_key().verify(
                _decoded(signature),
                f"{head}.{claims}".encode(),
                padding.PKCS1v15(),
                hashes.SHA256(),
            )
        except InvalidSignature:
            return self._json(400, {"error": "invalid_grant"})
        if self.broken or said["aud"] != "https://oauth2.googleapis.com/token":
            shown = {
                "error": self.broken or "invalid_grant",
                "error_description": form["assertion"],
            }
            return self._json(400, shown)
        self.scopes.append(said["scope"])
        return self._json(
            200,
            {"access_token": self._token(), "expires_in": self.lifetime_s, "token_type": "Bearer"},
        )

    def _exchange(self, form: Mapping[str, str]) -> tuple[int, str, str]:
        if self.broken or form["subject_token"] != SUBJECT_TOKEN:
            shown = {"error": "invalid_target", "error_description": form["subject_token"]}
            return self._json(400, shown)
        self.scopes.append(form["scope"])
        return self._json(
            200,
            {
                "access_token": self._token(),
                "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
                "token_type": "Bearer",
                "expires_in": self.lifetime_s,
            },
        )

    def _entra_configuration(self) -> dict[str, str]:
        base = f"{self.url}/tenant"
        return {
            "token_endpoint": f"{base}/oauth2/v2.0/token",
            "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
            "issuer": f"{base}/v2.0",
        }

    def _entra(self, form: Mapping[str, str]) -> tuple[int, str, str]:
        shown = form.get("client_secret") or form.get("client_assertion", "")
        if self.broken or shown not in (CLIENT_SECRET, SUBJECT_TOKEN):
            words = f"AADSTS7000215: Invalid client secret provided: {shown}"
            return self._json(401, {"error": "invalid_client", "error_description": words})
        self.scopes.append(form["scope"])
        return self._json(
            200,
            {"access_token": self._token(), "expires_in": self.lifetime_s, "token_type": "Bearer"},
        )


def _decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


@contextmanager
def serving_tokens(*, tls_folder: Path | None = None) -> Iterator[TokenServer]:
    """A server until the block ends; with `tls_folder` over TLS, its certificate is 127.0.0.1.pem there."""
    tokens = TokenServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _reply(self) -> None:
            length = int(self.headers.get("content-length", 0))
            form = parse_qs(self.rfile.read(length).decode())
            url = urlsplit(self.path)
            path = url.path + (f"?{url.query}" if url.query else "")
            status, media_type, body = tokens.answer(
                self.command, path, {name: values[0] for name, values in form.items()}
            )
            data = body.encode()
            self.send_response(status)
            self.send_header("content-type", media_type)
            self.send_header("content-length", str(len(data)))
            self.send_header("Metadata-Flavor", "Google")
            self.send_header("X-aws-ec2-metadata-token-ttl-seconds", "600")
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PUT = _reply

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    scheme = "http"
    if tls_folder is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate(tls_folder, "127.0.0.1"))
        server.socket = context.wrap_socket(server.socket, server_side=True)
        scheme = "https"
    tokens.url = f"{scheme}://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield tokens
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
