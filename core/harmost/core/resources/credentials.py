"""What a `Provider` document says of its credentials, checked. What may be a secret is never repeated."""

import re
from collections.abc import Iterator

from harmost.core.providers.auth import AUTHS, aws_scope
from harmost.core.resources.kinds import ProviderSpec

__all__ = ["REFERENCE_CHARS_MAX", "credential_problems"]

REFERENCE_CHARS_MAX = 4_096
_REFERENCES = {
    "env": r"[A-Za-z_][A-Za-z0-9_]*",
    "file": r"[^\0\n]+",
    "aws": r"(?:profile/[A-Za-z0-9_.@+-]{1,128}|web-identity|instance)?",
    "google": r"(?:/[^\0\n]+|instance)?",
    "entra": r"(?:instance)?",
}
_REFERENCE = re.compile("|".join(f"{kind}:{name}" for kind, name in _REFERENCES.items()))
_TOKEN_SCOPE = re.compile(r"(?:https|api)://[A-Za-z0-9._~:/-]{1,500}")


def credential_problems(spec: ProviderSpec) -> Iterator[tuple[str, str]]:
    """Each field that cannot be meant, and what to do about it."""
    reference = spec.credentials
    if spec.auth and spec.auth not in AUTHS:
        yield "auth", f"`auth` is none of {', '.join(AUTHS)}: write one, or leave it out"
        return
    if len(reference) > REFERENCE_CHARS_MAX or (reference and not _REFERENCE.fullmatch(reference)):
        yield (
            "credentials",
            (
                "`credentials` is not a reference: write `env:NAME`, `file:PATH`, `aws:`, `google:` or "
                "`entra:` as docs/credentials.md says, never the secret"
            ),
        )
        return
    kind = reference.partition(":")[0]
    if kind == "aws":
        yield from _aws_problems(spec)
    elif spec.auth == "aws-sigv4":
        yield "auth", '`auth: aws-sigv4` signs with keys of AWS: write `credentials: "aws:"`'
    elif kind in ("google", "entra"):
        if spec.auth not in ("", "bearer"):
            yield "auth", f"tokens from `{kind}:` are bearer tokens: leave out `auth`"
        if spec.auth_scope and not _TOKEN_SCOPE.fullmatch(spec.auth_scope):
            yield (
                "auth_scope",
                "`auth_scope` is no scope of a token: write one like `https://host/.default`",
            )
    elif spec.auth_scope:
        yield "auth_scope", "`auth_scope` is for `aws:`, `google:` and `entra:`: leave it out"


def _aws_problems(spec: ProviderSpec) -> Iterator[tuple[str, str]]:
    if spec.auth not in ("", "aws-sigv4"):
        yield "auth", "keys from `aws:` sign requests: leave out `auth`, or name a key's `env:NAME`"
    for url in (spec.base_url, *spec.regions.values()):
        try:
            aws_scope(spec.auth_scope, url)
        except ValueError as error:
            yield "auth_scope", str(error)
            return
