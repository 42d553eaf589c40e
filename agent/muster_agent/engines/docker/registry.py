"""What a registry says of an image before it is pulled: its platforms, its layers' sizes, and the image's own settings.

The distribution protocol's manifests, with the token that a registry asks for (OCI Distribution Specification 1.1,
Docker's token authentication). The daemon does the pull, with mirrors, authorities, and a proxy of its own, so a
registry that does not answer here, or not to the point, says nothing about the pull.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import msgspec
import requests
from msgspec import Struct
from requests.auth import AuthBase, HTTPBasicAuth
from requests.utils import parse_dict_header

from muster.http import Bearer, new_session, read_limited

REGISTRY_TIMEOUT_SECONDS = (3.0, 5.0)
MAX_MANIFEST_BYTES = 4 * 1024 * 1024
"""Of a manifest or an image's configuration."""

HUB = "docker.io"
_HUB_HOST = "registry-1.docker.io"
_HERE = re.compile(r"(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])(?::\d+)?")
_ACCEPTED = ", ".join(
    (
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    )
)


class Unheard(Exception):
    """The registry did not answer, or not to the point."""


@dataclass(frozen=True)
class Name:
    """An image as its registry knows it: `repository` without the registry, `reference` a tag or a digest."""

    registry: str
    repository: str
    reference: str

    @property
    def url(self) -> str:
        host = _HUB_HOST if self.registry == HUB else self.registry
        scheme = "http" if _HERE.fullmatch(host) else "https"  # as the daemon does
        return f"{scheme}://{host}/v2/{self.repository}"


@dataclass(frozen=True)
class Login:
    username: str
    password: str = field(repr=False)


@dataclass(frozen=True)
class Layer:
    """`diff_id` names what it holds, unpacked; `size` are the bytes to fetch."""

    diff_id: str
    size: int


@dataclass(frozen=True)
class Described:
    """An image at its registry. `layers` and `env` are those for the platform that was asked for; None and empty where
    the image is not there for it.
    """

    platforms: tuple[str, ...]
    layers: tuple[Layer, ...] | None
    env: Mapping[str, str]


def describe(name: Name, platform: str, login: Login | None) -> Described:
    """What the registry has for `platform` ("linux/amd64"). Raises Unheard."""
    try:
        with new_session(os.environ) as session:
            return _Talk(session, name, login).describe(platform)
    except (requests.RequestException, OSError, ValueError, RecursionError) as error:
        raise Unheard(type(error).__name__) from error


class _Platform(Struct):
    os: str = ""
    architecture: str = ""

    @property
    def name(self) -> str:
        return f"{self.os}/{self.architecture}"


class _Blob(Struct):
    digest: str
    size: int = 0
    platform: _Platform | None = None


class _Manifest(Struct):
    """An index has `manifests`, one for each platform; a manifest has `config` and `layers`."""

    manifests: list[_Blob] = []
    config: _Blob | None = None
    layers: list[_Blob] = []


class _Settings(Struct):
    Env: list[str] | None = None


class _RootFs(Struct, frozen=True):
    diff_ids: list[str] = []


class _Config(_Platform):
    config: _Settings | None = None
    rootfs: _RootFs = _RootFs()


class _Talk:
    """With one registry, about one image."""

    def __init__(self, session: requests.Session, name: Name, login: Login | None) -> None:
        self._session = session
        self._name = name
        self._auth: AuthBase | None = None
        self._login = login

    def describe(self, platform: str) -> Described:
        top = self._manifest(self._name.reference)
        if not top.manifests:
            return self._described(top, platform, None)
        # Attestations stand in the index as manifests for unknown/unknown.
        real = [manifest for manifest in top.manifests if manifest.platform and "unknown" not in manifest.platform.name]
        platforms = tuple(dict.fromkeys(manifest.platform.name for manifest in real if manifest.platform))
        fitting = next(
            (manifest for manifest in real if manifest.platform and manifest.platform.name == platform), None
        )
        if fitting is None:
            return Described(platforms, None, {})
        return self._described(self._manifest(fitting.digest), platform, platforms)

    def _described(self, manifest: _Manifest, platform: str, platforms: tuple[str, ...] | None) -> Described:
        if manifest.config is None:
            raise Unheard("an image without a configuration")
        config = msgspec.json.decode(self._get(f"blobs/{manifest.config.digest}"), type=_Config)
        if platforms is None and config.name != platform:
            return Described((config.name,), None, {})
        # Layers of an unknown content are counted as well, under a name that no layer has.
        ids = [*config.rootfs.diff_ids, *[""] * len(manifest.layers)]
        layers = tuple(Layer(diff_id, max(0, layer.size)) for diff_id, layer in zip(ids, manifest.layers, strict=False))
        settings = (variable.partition("=") for variable in (config.config.Env or () if config.config else ()))
        return Described(platforms or (platform,), layers, {name: value for name, _, value in settings})

    def _manifest(self, reference: str) -> _Manifest:
        return msgspec.json.decode(self._get(f"manifests/{reference}"), type=_Manifest)

    def _get(self, path: str) -> bytes:
        with self._request(path) as answer:
            if answer.status_code == 401 and self._auth is None:
                self._auth = self._authorized(answer.headers.get("WWW-Authenticate", ""))
                with self._request(path) as second:
                    return _content(second)
            return _content(answer)

    def _request(self, path: str) -> requests.Response:
        headers = {"Accept": _ACCEPTED} if path.startswith("manifests/") else {}
        auth = self._auth or Bearer(None)  # not a login of ~/.netrc
        return self._session.get(
            f"{self._name.url}/{path}", headers=headers, auth=auth, timeout=REGISTRY_TIMEOUT_SECONDS, stream=True
        )

    def _authorized(self, challenge: str) -> AuthBase:
        kind, _, rest = challenge.partition(" ")
        basic = HTTPBasicAuth(self._login.username, self._login.password) if self._login else None
        if kind.lower() == "basic" and basic is not None:
            return basic
        is_bearer = kind.lower() == "bearer"
        asked: dict[str, Any] = parse_dict_header(rest) if is_bearer else {}  # type: ignore[no-untyped-call]
        realm = str(asked.get("realm") or "")
        if urlsplit(realm).scheme not in ("https", urlsplit(self._name.url).scheme):
            raise Unheard("it asks for a login that is not given")
        scope = f"repository:{self._name.repository}:pull"
        given = {"service": asked.get("service"), "scope": scope}
        with self._session.get(
            realm, params=given, auth=basic or Bearer(None), timeout=REGISTRY_TIMEOUT_SECONDS, stream=True
        ) as answer:
            token = msgspec.json.decode(_content(answer), type=_Token)
        return Bearer(token.token or token.access_token)


class _Token(Struct):
    token: str = ""
    access_token: str = ""


def _content(answer: requests.Response) -> bytes:
    if answer.status_code != 200:
        raise Unheard(f"status {answer.status_code}")
    return read_limited(answer, MAX_MANIFEST_BYTES)
