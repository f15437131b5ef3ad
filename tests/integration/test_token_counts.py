"""What a running mesh expects and settles of input, where a provider says what it counted and where not."""

from pathlib import Path

from mesh import Mesh, eventually
from vocabulary import write_vocabulary

from harmost.client import Finished
from harmost.common.v1 import usage_pb2
from harmost.core.tokens.estimate import template_tokens

QUESTION = "The quick brown fox asks what a harmost is. " * 8
DOCUMENTS = """
apiVersion: harmost.dev/v1
kind: Provider
metadata: {{name: silent}}
spec:
  codec: openai
  base_url: http://{sandbox}/openai/v1
  headers: {{x-sandbox-no-usage: "true"}}
---
apiVersion: harmost.dev/v1
kind: Model
metadata: {{name: silent}}
spec:
  provider: silent
  vendor_model_id: sandbox-small
  price: {{input: "1", output: "1"}}
  tokenizer: file:{tokenizer}
---
apiVersion: harmost.dev/v1
kind: MissionProfile
metadata: {{name: silent, tenant: acme}}
spec: {{models: [silent]}}
"""


def ask(mesh: Mesh, profile: str) -> Finished:
    with mesh.client() as client:
        return client.chat(profile, QUESTION).finished


def test_what_is_expected_comes_near_what_the_provider_counts(mesh: Mesh) -> None:
    for _ in range(12):
        finished = ask(mesh, "hello")
    (attempt,) = mesh.record(finished.record_id).attempts
    counted = attempt.usage.input_tokens
    assert abs(attempt.estimated_input_tokens / counted - 1) < 0.1


def test_input_that_nobody_counted_is_counted_by_the_vocabulary_that_the_model_names(
    mesh: Mesh, tmp_path: Path
) -> None:
    vocabulary = write_vocabulary(tmp_path / "tokenizer.json", [QUESTION])
    exact = len(vocabulary.encode(QUESTION).ids) + template_tokens(1)
    sandbox = mesh.endpoints["sandbox"]
    mesh.apply(DOCUMENTS.format(sandbox=sandbox, tokenizer=tmp_path / "tokenizer.json"))

    def counted() -> bool:  # the first may find the process still starting
        (attempt,) = mesh.record(ask(mesh, "silent").record_id).attempts
        assert attempt.usage.source == usage_pb2.USAGE_SOURCE_ESTIMATED
        return attempt.usage.input_tokens == exact

    eventually(counted, what="an exact count")
