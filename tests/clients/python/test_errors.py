"""Every error of the mesh arrives as the client's error of the same name."""

from typing import Any

import grpc
import pytest

from harmost.client import errors as client_errors
from harmost.client.errors import error_of
from harmost.core import errors
from harmost.services.interceptors.errors import STATUS_CODES, status_of


class Failed(grpc.RpcError):
    """A failed call as grpcio hands it over."""

    def __init__(self, status: Any) -> None:
        super().__init__()
        self._status = status

    def code(self) -> grpc.StatusCode:
        return self._status.code  # type: ignore[no-any-return]

    def details(self) -> str:
        return self._status.details  # type: ignore[no-any-return]

    def trailing_metadata(self) -> Any:
        return self._status.trailing_metadata


def made(kind: type[errors.HarmostError]) -> errors.HarmostError:
    if kind is errors.RateLimited:
        return errors.RateLimited("m", retry_after_s=1.5)
    return kind("m")


@pytest.mark.parametrize("kind", STATUS_CODES)
def test_each_error_of_the_mesh_has_its_twin(kind: type[errors.HarmostError]) -> None:
    error = error_of(Failed(status_of(made(kind))))
    assert type(error).__name__ == kind.__name__
    assert (error.reason, error.message, error.code) == (kind.reason, "m", STATUS_CODES[kind])


def test_rate_limit_says_when_to_try_again() -> None:
    assert error_of(Failed(status_of(made(errors.RateLimited)))).retry_after_s == 1.5


def test_metadata_and_violations_arrive() -> None:
    denied = errors.PolicyDenied("m", details={"policy": "p", "rule": "r"})
    assert error_of(Failed(status_of(denied))).metadata == {"policy": "p", "rule": "r"}
    invalid = errors.InvalidInput("m", violations=[errors.Violation("profile", "is required")])
    assert error_of(Failed(status_of(invalid))).violations == (("profile", "is required"),)


class Bare(grpc.RpcError):
    """A status without details, as a proxy or gRPC itself makes it."""

    def __init__(self, code: grpc.StatusCode, metadata: Any = None) -> None:
        super().__init__()
        self._code, self._metadata = code, metadata

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return ""

    def trailing_metadata(self) -> Any:
        return self._metadata


def test_a_bare_status_is_typed_by_its_code() -> None:
    assert type(error_of(Bare(grpc.StatusCode.UNAVAILABLE))) is client_errors.Unreachable
    assert type(error_of(Bare(grpc.StatusCode.DATA_LOSS))) is client_errors.HarmostError
    assert error_of(Bare(grpc.StatusCode.DATA_LOSS)).message == "data loss"


def test_garbled_details_do_not_hide_the_status() -> None:
    garbled = Bare(grpc.StatusCode.NOT_FOUND, [("grpc-status-details-bin", b"\xff\xff")])
    assert type(error_of(garbled)) is client_errors.NotFound
