"""Which of the host's files a container may see: links are followed, and what lies outside stays outside."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from muster_agent.backends.container_settings import AskedMount, covers_programs
from muster_agent.backends.host_paths import is_below, plain


@dataclass(frozen=True)
class AllowedMount:
    """A folder of the host of which deployments may mount what they like."""

    folder: Path
    read_only: bool


def lies_in(path: str, folder: Path) -> bool:
    """Whether `path` is `folder` or inside of it after all links; not so for what is no path, or links in a circle."""
    if not path.startswith("/"):
        return False
    try:
        return Path(path).resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError, ValueError):
        return False


def why_not(mount: AskedMount, allowed: Iterable[AllowedMount], *, over_programs: bool) -> str | None:
    """Why the host does not mount it, with the owner's setting; None if it does.

    `over_programs`: the owner lets deployments choose the code that their containers run.
    """
    folders = list(allowed)
    holding = [allowed for allowed in folders if lies_in(str(mount.source), allowed.folder)]
    if not holding:
        listed = ", ".join(str(allowed.folder) for allowed in folders) or "none"
        what = f"{str(mount.source)[:200]} is not below a folder that this host mounts ({listed})"
        return f"{what}: the agent's setting --allow-mount"
    if not mount.read_only and all(allowed.read_only for allowed in holding):
        return f"{holding[0].folder} is mounted read-only alone: add :ro (the agent's setting --allow-mount)"
    if not over_programs and covers_programs(mount.target):
        advice = "choose another target (the agent's setting --allow-remote-code)"
        return f"{mount.target} is among the programs of the image: {advice}"
    return None


def seen_at(path: str, root: Path) -> Iterator[tuple[Path, str]]:
    """Sources and targets by which a container sees a path below `root` as the host does.

    It is the whole of `root`, so that links in it lead somewhere, and the path itself if a link elsewhere led there.
    """
    resolved = root.resolve()
    yield resolved, str(resolved)
    if is_below(path, str(root)):
        yield resolved, str(root)
    else:
        yield Path(plain(path)).resolve(), plain(path)


def is_absent(path: str) -> bool:
    """Whether nothing is there. What the agent may not look at counts as there: a container's root may."""
    try:
        Path(plain(path)).stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except (OSError, ValueError):
        return False
    return False
