"""What is refused before anything is started, and with which words."""

import os
import socket
from pathlib import Path

import pytest

from harmost.core.errors import InvalidInput
from harmost.services.operate.endpoints import Endpoints
from harmost.services.supervisor import premises
from harmost.services.supervisor.supervisor import Plan, endpoints_for


def test_one_data_directory_has_one_supervisor(tmp_path: Path) -> None:
    with (
        premises.held(tmp_path / "data"),
        pytest.raises(InvalidInput, match=rf"another .* \(process {os.getpid()}\) .*--data"),
        premises.held(tmp_path / "data"),
    ):
        pass
    with premises.held(tmp_path / "data"):  # and when it is gone, the next may come
        pass


def test_a_data_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with (
        pytest.raises(InvalidInput, match="file/data` cannot be written: not a directory"),
        premises.held(file / "data"),
    ):
        pass


def test_the_service_key_is_made_once_and_for_its_owner_only(tmp_path: Path) -> None:
    path = premises.service_key(tmp_path)
    key = path.read_text()
    assert premises.service_key(tmp_path).read_text() == key
    assert len(key.strip()) == 43
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_taken_port_is_named_with_who_wants_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(InvalidInput, match=rf"`{address}`, wanted by budget, .*--port"):
            premises.check_free({"budget": address})


def test_free_ports_are_free_and_differ() -> None:
    ports = premises.free_ports(5, "127.0.0.1")
    assert len(set(ports)) == 5
    premises.check_free({str(port): f"127.0.0.1:{port}" for port in ports})


def test_only_the_router_listens_where_others_can_reach_it() -> None:
    found = endpoints_for(host="::", port=6_000, sandbox=False, tls_ca=None)
    assert found.router == "[::]:6000"
    assert (found.policy, found.telemetry) == ("127.0.0.1:6001", "127.0.0.1:6003")
    assert found.sandbox == ""


def test_any_free_ports_are_those_of_the_last_run_where_they_can_be(tmp_path: Path) -> None:
    def again(previous: Endpoints | None) -> Endpoints:
        return endpoints_for(host="127.0.0.1", port=0, sandbox=True, tls_ca=None, previous=previous)

    first = again(None)
    assert again(first) == first
    with socket.create_server(("127.0.0.1", int(first.budget.rpartition(":")[2]))):
        assert again(first) != first


def test_each_service_is_told_only_what_it_needs(tmp_path: Path) -> None:
    endpoints = endpoints_for(host="127.0.0.1", port=6_000, sandbox=True, tls_ca=None)
    plan = Plan(data_dir=tmp_path, endpoints=endpoints)
    key = tmp_path / "service.key"
    processes = list(plan.processes())
    assert sorted(processes) == ["budget", "policy", "router-0", "sandbox", "telemetry"]
    assert "--service-key-file" not in plan.command("sandbox", key)
    assert "--policy" not in plan.command("policy", key)
    router = plan.command("router-0", key)
    assert router[router.index("--budget") + 1] == "127.0.0.1:6002"
    folders = {"router", "policy", "budget", "telemetry", "sandbox"}
    assert {str(tmp_path / name) for name in folders} == {
        command[command.index("--data") + 1]
        for command in (plan.command(name, key) for name in processes)
    }
