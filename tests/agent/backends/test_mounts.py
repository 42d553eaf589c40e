"""Which of the host's files a container may see."""

from __future__ import annotations

from pathlib import Path

import pytest

from muster_agent.backends.container_settings import AskedMount
from muster_agent.backends.mounts import AllowedMount, is_absent, lies_in, seen_at, why_not


@pytest.mark.parametrize(
    ("path", "lies"),
    [
        ("ROOT/models", True),
        ("ROOT/models/good/x", True),
        ("ROOT/models/alias", True),
        ("ROOT/private/../models/good", True),
        ("ROOT/models/../private", False),
        ("ROOT/models/escape/x", False),
        ("ROOT/models2", False),
        ("ROOT/models/circle/x", False),
        ("ROOT/models/\0", False),
        ("ROOT/models/\ud800", False),
        ("models/good", False),
        ("", False),
    ],
)
def test_a_path_lies_in_a_folder_after_all_links(root: Path, path: str, lies: bool) -> None:
    (root / "models/circle").symlink_to("circle")
    assert lies_in(path.replace("ROOT", str(root)), root / "models") is lies


def test_a_mount_is_as_the_widest_folder_allows_that_holds_it(root: Path) -> None:
    allowed = [AllowedMount(root, True), AllowedMount(root / "models", False)]
    for source, read_only, said in (
        (root / "private", True, None),
        (root / "private", False, "add :ro"),
        (root / "models/good", False, None),
        (root / "models/escape", False, "add :ro"),  # a link to where reading is allowed
        (Path("/etc"), True, "not below a folder that this host mounts"),
    ):
        found = why_not(AskedMount("w", source, "/x", read_only), allowed, over_programs=False)
        assert (found is None) is (said is None) and (said or "") in (found or "")
    assert "(none)" in (why_not(AskedMount("w", root, "/x", True), [], over_programs=True) or "")


def test_a_mount_over_the_programs_of_an_image_is_a_choice_of_code(root: Path) -> None:
    mount, allowed = AskedMount("w", root, "/usr/lib/python3", True), [AllowedMount(root, True)]
    assert "--allow-remote-code" in (why_not(mount, allowed, over_programs=False) or "")
    assert why_not(mount, allowed, over_programs=True) is None


def test_a_path_is_seen_where_the_host_has_it(root: Path) -> None:
    models = root / "models"
    (root / "linked").symlink_to(models)
    whole = (models, str(models))
    assert list(seen_at(f"{models}/good", models)) == [whole, whole]
    assert list(seen_at(f"{root}/linked/good", root / "linked")) == [whole, (models, f"{root}/linked")]
    assert list(seen_at(f"file://{root}/linked/good", models)) == [whole, (models / "good", f"{root}/linked/good")]


def test_what_cannot_be_looked_at_counts_as_there(root: Path) -> None:
    (root / "models/circle").symlink_to("circle")
    assert is_absent(f"{root}/absent") and is_absent(f"file://{root}/absent/deeper")
    for there in (f"{root}/models/good", f"{root}/models/circle", f"{root}/{'x' * 300}", "/a\0"):
        assert not is_absent(there)
