"""The commit of a checkout, marked where files differ from it."""

import subprocess
from pathlib import Path

import pytest

from harmost.services.operate.revision import revision_of


def git(folder: Path, *words: str) -> str:
    options = ("-c", "user.name=t", "-c", "user.email=t@example.com")
    ran = subprocess.run(
        ["git", "-C", str(folder), *options, *words], check=True, capture_output=True, text=True
    )
    return ran.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "documents"
    folder.mkdir()
    git(folder, "init", "-q")
    (folder / "a.yaml").write_text("a: 1\n")
    (folder / "b.yaml").write_text("b: 1\n")
    (folder / ".gitignore").write_text("*.local.yaml\n")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "first")
    return folder


def test_clean_files_are_of_their_commit(checkout: Path) -> None:
    commit = git(checkout, "rev-parse", "HEAD")
    assert revision_of([checkout]) == commit
    assert revision_of([checkout / "a.yaml", checkout / "b.yaml"]) == commit


def test_only_what_is_applied_counts_as_changed(checkout: Path) -> None:
    commit = git(checkout, "rev-parse", "HEAD")
    (checkout / "a.yaml").write_text("a: 2\n")
    assert revision_of([checkout / "b.yaml"]) == commit
    assert revision_of([checkout / "a.yaml"]) == f"{commit}-dirty"
    assert revision_of([checkout]) == f"{commit}-dirty"


@pytest.mark.parametrize("name", ["new.yaml", "mine.local.yaml"])
def test_a_file_that_git_does_not_keep_is_a_difference(checkout: Path, name: str) -> None:
    (checkout / name).write_text("c: 1\n")
    assert revision_of([checkout / name]).endswith("-dirty")


def test_outside_of_a_checkout_nothing_is_known(checkout: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone.yaml"
    alone.write_text("a: 1\n")
    assert revision_of([alone]) == ""
    assert revision_of([alone, checkout]) == ""
    assert revision_of([]) == ""


def test_a_checkout_without_a_commit_is_no_commit(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    assert revision_of([tmp_path]) == ""
