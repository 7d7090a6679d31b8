"""The wire: one bounded HTTP exchange with one host, under one total deadline.

Guarantees: at most 8 MB of a reply are read, compressed or not; a redirect is never followed, so a key reaches no other host;
an exchange ends within its deadline however slowly the server drips; nothing here retries.
"""

from __future__ import annotations

import asyncio
import json as jsonlib
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from qrdistill.errors import ConfigError
from qrdistill.teacher.client.classify import Failure, from_status, one_line
from qrdistill.teacher.client.keys import Key
from qrdistill.teacher.client.retry import retry_after

if TYPE_CHECKING:
    import httpx2

MAX_REPLY_BYTES = 8_000_000
_CONNECT_S = 20.0
_KNOWN_PATHS = 64
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """What one exchange brought: a body, or a failure."""

    body: bytes = b""
    failure: Failure | None = None


class Wire:
    """Connections to one endpoint, as many as there are exchanges at a time.

    Args:
        base_url: address up to the version.
        key: sent as a bearer token to this address and to no other.
        transport: replaces the network (tests).

    Raises:
        ConfigError: the address cannot be one.
    """

    def __init__(self, base_url: str, key: Key, *, transport: httpx2.AsyncBaseTransport | None = None) -> None:
        import httpx2

        self._httpx = httpx2
        self._base_url = base_url.rstrip("/")
        self._key = key
        self._urls: dict[str, httpx2.URL] = {}
        try:
            host = urlsplit(base_url).hostname or ""
            url = httpx2.URL(base_url)
        except (ValueError, httpx2.InvalidURL) as error:
            raise ConfigError(f"base_url {base_url!r} is not an address ({error}); expected e.g. https://host/v1") from error
        if not url.host:
            raise ConfigError(f"base_url {base_url!r} names no host; expected e.g. https://host/v1")
        self._transport = transport
        # Proxies and certificates of the environment apply, but never to this machine's own servers.
        self._trust_env = host not in _LOOPBACK
        self._tls = httpx2.create_ssl_context(trust_env=self._trust_env)
        self._lanes: list[httpx2.AsyncClient] = []
        self._idle: list[httpx2.AsyncClient] = []
        self._idle.append(self._new_lane())

    def _new_lane(self) -> httpx2.AsyncClient:
        """A client that holds one connection. One pool of many connections is searched from end to end for every request."""
        lane = self._httpx.AsyncClient(
            transport=self._transport,
            follow_redirects=False,
            trust_env=self._trust_env,
            verify=self._tls,
            limits=self._httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=30),
            headers={"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "qrdistill"},
        )
        self._lanes.append(lane)
        return lane

    def request(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        headers: Mapping[str, str] | None = None,
        files: Mapping[str, Any] | None = None,
        data: Mapping[str, str] | None = None,
    ) -> httpx2.Request:
        """A request to this address, ready to be sent."""
        own = {"Content-Type": "application/json"} if json is not None else {}
        return self._lanes[0].build_request(
            method,
            self._url(path),
            content=None if json is None else _encode(json),
            files=files,
            data=data,
            headers={**own, **(headers or {}), **self._key.header()},
        )

    async def exchange(self, request: httpx2.Request, *, deadline_s: float, max_bytes: int = MAX_REPLY_BYTES) -> Exchange:
        """Send a request and read its reply; every failure comes back as a value, with the key blotted out."""
        httpx2 = self._httpx
        timeout = httpx2.Timeout(deadline_s, connect=min(_CONNECT_S, deadline_s), pool=None)
        request.extensions["timeout"] = timeout.as_dict()
        started_s = time.monotonic()
        lane = self._idle.pop() if self._idle else self._new_lane()
        try:
            async with asyncio.timeout(deadline_s):
                response = await lane.send(request, stream=True)
                try:
                    body = await _read(response, max_bytes)
                finally:
                    await response.aclose()
        except TimeoutError:
            return self._failed("lost", f"no whole reply within {deadline_s:g} s")
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.ProxyError, httpx2.UnsupportedProtocol) as error:
            return self._failed("unreachable", f"cannot connect to {self._base_url}: {error or type(error).__name__}")
        except (httpx2.HTTPError, httpx2.StreamError, zlib.error, _TooLargeError) as error:
            elapsed_s = time.monotonic() - started_s
            return self._failed("lost", f"the reply broke off after {elapsed_s:.1f} s: {error or type(error).__name__}")
        finally:
            self._idle.append(lane)
        if response.status_code != 200:
            told_s = retry_after(response.headers, now_s=time.time())
            failure = from_status(response.status_code, response.headers, body, retry_after_s=told_s)
            return self._failed(failure.kind, failure.message, failure.status, told_s)
        return Exchange(body=body)

    def _url(self, path: str) -> httpx2.URL:
        """The address of a path, parsed once (parsing takes longer than all the rest of building a request)."""
        if path not in self._urls:
            if len(self._urls) >= _KNOWN_PATHS:
                self._urls.clear()
            self._urls[path] = self._httpx.URL(f"{self._base_url}{path}")
        return self._urls[path]

    def _failed(self, kind: Any, message: str, status: int = 0, retry_after_s: float = -1.0) -> Exchange:
        line = one_line(self._key.hide(message))
        return Exchange(failure=Failure(kind=kind, message=line, status=status, retry_after_s=retry_after_s))

    async def close(self) -> None:
        """Close every connection."""
        for lane in self._lanes:
            await lane.aclose()


def _encode(tree: Any) -> bytes:
    return jsonlib.dumps(tree, ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode("ascii")


class _TooLargeError(Exception):
    """The reply has more bytes than anybody should read."""


async def _read(response: httpx2.Response, max_bytes: int) -> bytes:
    """The decoded body, of which at most `max_bytes` are ever held."""
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    # wbits 47 reads gzip and zlib headers alike; max_length keeps a small bomb from becoming a large string.
    inflate = zlib.decompressobj(wbits=47) if encoding in {"gzip", "deflate", "x-gzip"} else None
    if inflate is None and encoding not in {"identity", ""}:
        raise _TooLargeError(f"the server compresses with {encoding[:20]!r} although it was asked not to")
    parts: list[bytes] = []
    size = 0
    async for chunk in response.aiter_raw():
        if inflate is not None:
            chunk = inflate.decompress(chunk, max_bytes + 1 - size)
        size += len(chunk)
        if size > max_bytes:
            raise _TooLargeError(f"more than {max_bytes:,} bytes")
        parts.append(chunk)
    return b"".join(parts)
