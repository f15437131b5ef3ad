"""The error tree meets the wire completely, and tells enough."""

from collections.abc import Iterator

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from harmost.core import errors
from harmost.services.interceptors.errors import DOMAIN, STATUS_CODES, status_of


def tree(root: type[errors.HarmostError]) -> Iterator[type[errors.HarmostError]]:
    yield root
    for child in root.__subclasses__():
        if child.__module__ == errors.__name__:  # what other modules refine is no part of the tree
            yield from tree(child)


def parsed(status: grpc.Status) -> status_pb2.Status:
    found = dict(status.trailing_metadata)
    return status_pb2.Status.FromString(found["grpc-status-details-bin"])


def test_every_error_has_a_status() -> None:
    assert set(tree(errors.HarmostError)) == set(STATUS_CODES)


def test_a_refined_error_has_the_status_of_what_it_refines() -> None:
    class Refined(errors.InvalidDocuments):
        """As policy's compiler raises, with more to tell at home."""

    assert parsed(status_of(Refined("bad"))).code == grpc.StatusCode.INVALID_ARGUMENT.value[0]


def test_reasons_are_unique_and_upper_snake() -> None:
    reasons = [error.reason for error in tree(errors.HarmostError)]
    assert len(set(reasons)) == len(reasons)
    assert all(reason.isupper() and len(reason) <= 63 for reason in reasons)


def test_the_tree_is_drawn_whole_in_its_module() -> None:
    drawn = errors.__doc__ or ""
    assert all(error.__name__ in drawn for error in tree(errors.HarmostError))


def test_error_info_carries_reason_domain_and_details() -> None:
    status = parsed(status_of(errors.PolicyDenied("no", details={"rule": "stays-in-eu"})))
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert (info.reason, info.domain, info.metadata["rule"]) == (
        "POLICY_DENIED",
        DOMAIN,
        "stays-in-eu",
    )


def test_rate_limit_says_when_to_retry_and_exhausted_budget_does_not() -> None:
    retry = parsed(status_of(errors.RateLimited("later", retry_after_s=1.5)))
    never = parsed(status_of(errors.BudgetExhausted("spent")))
    info = error_details_pb2.RetryInfo()
    assert retry.code == never.code == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
    assert retry.details[1].Unpack(info)
    assert info.retry_delay.ToMilliseconds() == 1500
    assert len(never.details) == 1


def test_a_provider_that_asked_for_a_wait_is_waited_for() -> None:
    asked = parsed(status_of(errors.ProviderFailed("no model answered", retry_after_s=7)))
    silent = parsed(status_of(errors.ProviderFailed("no model answered")))
    info = error_details_pb2.RetryInfo()
    assert asked.details[1].Unpack(info)
    assert info.retry_delay.ToMilliseconds() == 7_000
    assert len(silent.details) == 1


@pytest.mark.parametrize("count", [1, 49, 5000])
def test_violations_are_named_within_what_a_header_holds(count: int) -> None:
    violations = [errors.Violation(f"a.yaml:{n}:1", "x" * 400) for n in range(count)]
    status = status_of(errors.InvalidInput("bad", violations=violations))
    request = error_details_pb2.BadRequest()
    assert parsed(status).details[1].Unpack(request)
    assert request.field_violations[0].field == "a.yaml:0:1"
    assert parsed(status).ByteSize() < 7000
