"""The console: a page for people, and the files that it is made of (docs/adr/0017).

The page is small and asked for anew each time. All else lies below a version made of its contents: a browser may keep
it for ever, and never runs the modules of two versions together. Whoever asks gets it; it holds nothing but code.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from chalice.app import Response

from muster.api.errors import ApiError

FOLDER = Path(__file__).parents[1] / "console"
PAGE = "index.html"
TYPES = {".css": "text/css", ".html": "text/html", ".js": "text/javascript", ".svg": "image/svg+xml"}
"""All of it is text, so that a gateway has to be told about bytes only where a caller accepts compressed ones."""
POLICY = "; ".join(
    ["default-src 'none'"]
    + [f"{kind}-src 'self'" for kind in ("script", "style", "img", "connect")]
    + [f"{where} 'none'" for where in ("base-uri", "form-action", "frame-ancestors")]
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
ANEW, FOR_EVER = "no-cache", "public, max-age=31536000, immutable"


@dataclass(frozen=True)
class Site:
    """`files` are all that can be asked for, by name: what is not among them is not there, however it is spelt."""

    version: str
    page: str
    files: dict[str, str]


@cache
def site() -> Site:
    """Read once. The page is told where its files are, and names them all: no module waits for another to be read."""
    found = {str(path.relative_to(FOLDER)): path for path in sorted(FOLDER.rglob("*")) if path.suffix in TYPES}
    files = {name: path.read_text(encoding="utf-8") for name, path in found.items()}
    version = hashlib.sha256(repr(files).encode()).hexdigest()[:16]
    page = files.pop(PAGE)
    modules = "\n".join(
        f'    <link rel="modulepreload" href="console/@/{name}">' for name in files if name[-3:] == ".js"
    )
    return Site(
        version, page.replace("    <!-- modules -->", modules).replace("console/@/", f"console/{version}/"), files
    )


# Each answers GET and HEAD: a gateway and the local server keep the body from HEAD.


def page(request: Any) -> Response:
    """Its own references are relative to where it is seen, so the last part of that has to be a folder."""
    seen_at = str(request.context.get("path") or "/")
    if not seen_at.endswith("/"):
        return Response("", {"Location": f"{seen_at.rpartition('/')[2]}/", **HEADERS}, 308)
    return _text(PAGE, site().page, ANEW)


def vendored(request: Any, version: str, name: str) -> Response:
    """Raises ApiError ROUTE_NOT_FOUND."""
    return file(request, version, f"vendor/{name}")


def file(request: Any, version: str, name: str) -> Response:
    """Raises ApiError ROUTE_NOT_FOUND."""
    text = site().files.get(name) if version == site().version else None
    if text is None:
        raise ApiError("ROUTE_NOT_FOUND", "the console has no such file; reload its page to get this version's")
    return _text(name, text, FOR_EVER)


def _text(name: str, text: str, keep: str) -> Response:
    """A validator of all files serves for each: the page is asked for anew, and has their version in it."""
    headers: dict[str, str | list[str]] = {"Cache-Control": keep, "ETag": f'W/"{site().version}"', **HEADERS}
    return Response(text, {"Content-Type": f"{TYPES[Path(name).suffix]}; charset=utf-8", **headers})
