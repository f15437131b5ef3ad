"""Which address and which key a command uses: option, environment, data directory, default."""

from pathlib import Path

import pytest

from harmost.core.errors import InvalidInput, Unauthenticated
from harmost.services.cli.target import Target
from harmost.services.operate.endpoints import Endpoints


def target(data: Path, *, address: str = "", key: str = "", key_file: Path | None = None) -> Target:
    return Target(address=address, key=key, key_file=key_file, data_dir=data)


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HARMOST_ADDRESS", "HARMOST_POLICY_ADDRESS", "HARMOST_TLS_CA"):
        monkeypatch.delenv(name, raising=False)


def test_without_anything_the_usual_ports_are_tried(tmp_path: Path) -> None:
    assert target(tmp_path).endpoint("router") == "127.0.0.1:50051"
    assert target(tmp_path).endpoint("telemetry") == "127.0.0.1:50054"


def test_what_up_wrote_comes_before_the_usual_ports(tmp_path: Path) -> None:
    Endpoints(router="127.0.0.1:1", policy="127.0.0.1:2").write(tmp_path)
    assert target(tmp_path).endpoint("router") == "127.0.0.1:1"
    assert target(tmp_path).endpoint("policy") == "127.0.0.1:2"


def test_environment_and_option_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Endpoints(policy="127.0.0.1:2").write(tmp_path)
    monkeypatch.setenv("HARMOST_POLICY_ADDRESS", "policy.example:443")
    assert target(tmp_path).endpoint("policy") == "policy.example:443"
    assert target(tmp_path, address="[::1]:9").endpoint("policy") == "[::1]:9"


def test_the_admin_key_is_found_in_the_data_directory(tmp_path: Path) -> None:
    with pytest.raises(Unauthenticated, match=r"admin\.key"):
        target(tmp_path).api_key()
    (tmp_path / "admin.key").write_text("hm_admin\n")
    assert target(tmp_path).api_key() == "hm_admin"
    (tmp_path / "other.key").write_text("hm_other\n")
    assert target(tmp_path, key_file=tmp_path / "other.key").api_key() == "hm_other"
    assert target(tmp_path, key=" hm_said ").api_key() == "hm_said"


def test_a_damaged_endpoints_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "endpoints.json").write_text("{")
    with pytest.raises(InvalidInput, match=r"endpoints\.json.* is damaged"):
        target(tmp_path).endpoint("router")


def test_a_service_that_was_left_out_is_named(tmp_path: Path) -> None:
    Endpoints(sandbox="").write(tmp_path)
    with pytest.raises(InvalidInput, match="no sandbox runs"):
        target(tmp_path).endpoint("sandbox")
