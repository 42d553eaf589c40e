"""Another commit beside the working tree."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from bench import worktree
from tests.fixtures import ROOT


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with two commits in the place of this one."""
    path = tmp_path / "repository"
    path.mkdir()
    monkeypatch.setattr(worktree, "ROOT", path)
    worktree.git("init", "--quiet")
    for text in ("first", "second"):
        (path / worktree.LOCK).write_text(text)
        worktree.git("add", ".")
        worktree.git("-c", "user.name=a", "-c", "user.email=a@example.com", "commit", "--quiet", "-m", text)
    return path


def test_a_commit_is_checked_out_beside_the_tree_and_removed(repository: Path, tmp_path: Path) -> None:
    for _ in range(2):  # the second time over what an interrupted run left
        path, commit = worktree.check_out("HEAD~1", tmp_path)
    assert (path / worktree.LOCK).read_text() == "first" and (repository / worktree.LOCK).read_text() == "second"
    assert worktree.git("rev-parse", "HEAD~1").startswith(commit)
    worktree.remove(path)
    assert not path.exists() and worktree.git("worktree", "list").count("\n") == 0


def test_an_unknown_commit_ends_with_git_s_words(repository: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no-such-commit"):
        worktree.check_out("no-such-commit", tmp_path)


def test_a_checkout_with_the_same_lock_file_uses_the_same_python() -> None:
    assert worktree.python_of(ROOT, Path("python")) == Path("python")


def test_a_checkout_with_another_lock_file_gets_its_own(repository: Path, tmp_path: Path) -> None:
    path, _ = worktree.check_out("HEAD~1", tmp_path)
    (path / "Makefile").write_text("setup:\n\ttouch made\n")
    assert worktree.python_of(path, Path("python")) == path / ".venv" / "bin" / "python" and (path / "made").exists()
    subprocess.run(["git", "-C", str(repository), "worktree", "remove", "--force", str(path)], check=True)
