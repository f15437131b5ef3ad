"""A key that signs snapshots in tests, and what verifies them."""

from harmost.core.policy.revocations import Revocations
from harmost.core.resources.signing import Signer, Verifier, new_signing_key
from harmost.policy.v1 import policy_pb2
from harmost.services.convert.signed import revocations_to_proto, sign_snapshot

SIGNER = Signer(new_signing_key())
STRANGER = Signer(new_signing_key())


def verifier() -> Verifier:
    """Trusts SIGNER alone."""
    return Verifier([SIGNER.public_pem])


def signed(snapshot: policy_pb2.Snapshot, signer: Signer = SIGNER) -> policy_pb2.Snapshot:
    """`snapshot`, with the signature of `signer`."""
    sign_snapshot(snapshot, signer)
    return snapshot


def none_revoked(sequence: int = 0) -> policy_pb2.Revocations:
    """Revocations that stop nothing, signed by SIGNER."""
    return revocations_to_proto(Revocations(sequence), SIGNER)
