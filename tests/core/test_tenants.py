"""Paths of the tenant tree: form, line of ancestors, who sees whom."""

import pytest

from harmost.core.limits import TENANT_DEPTH_MAX
from harmost.core.tenants import ancestors, is_path, visible


@pytest.mark.parametrize("path", ["a", "acme", "acme/retail/support", "0.x_y-z", "a" * 63])
def test_well_formed_paths_are_paths(path: str) -> None:
    assert is_path(path)


@pytest.mark.parametrize(
    "path",
    ["", "/", "a/", "/a", "a//b", "A", "-a", ".", "a/..", "a b", "a\n", "ä", "a" * 64, "*"],
)
def test_malformed_paths_are_none(path: str) -> None:
    assert not is_path(path)


def test_depth_is_bounded() -> None:
    assert is_path("/".join("a" * TENANT_DEPTH_MAX))
    assert not is_path("/".join("a" * (TENANT_DEPTH_MAX + 1)))


def test_ancestors_lead_from_the_root_down() -> None:
    assert ancestors("a/b/c") == ("a", "a/b", "a/b/c")
    assert ancestors("a") == ("a",)
    assert ancestors("") == ()


def test_own_tenant_and_below_are_visible() -> None:
    assert visible("acme", "acme")
    assert visible("acme", "acme/retail")


def test_above_beside_and_like_named_are_not_visible() -> None:
    assert not visible("acme/retail", "acme")
    assert not visible("acme/retail", "acme/research")
    assert not visible("acme", "acmeretail")
    assert not visible("acme", "acme-x/retail")


def test_only_the_whole_deployment_sees_the_whole_deployment() -> None:
    assert visible("", "acme")
    assert visible("", "")
    assert not visible("acme", "")
