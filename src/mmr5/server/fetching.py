"""Fetching a picture from an address that a stranger gave, without reaching into our own network.

A host name is resolved once; every address that it resolves to must be public; the connection goes to the address that was
checked (so the name cannot be re-bound in between), with the name kept for TLS and ``Host``. Every redirect is
checked alike. Size and time are bounded, bodies are taken as they are (no decompression), proxies of the environment are ignored.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from mmr5.errors import PageError

if TYPE_CHECKING:
    import httpx

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolver = Callable[[str, int], Awaitable[list[str]]]
OnBytes = Callable[[int], None]

MAX_REDIRECTS = 3
REDIRECTS = frozenset({301, 302, 303, 307, 308})
_CHUNK = 64 * 1024
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_REFUSED = tuple(
    map(
        ipaddress.ip_network,
        ("168.63.129.16/32", "192.0.0.0/24", "192.88.99.0/24", "64:ff9b:1::/48", "2001::/23", "2001:db8::/32", "3fff::/20"),
    )
)
"""Global by Python's tables of some versions, yet answered by a cloud's own platform, or reserved."""
_UNICAST = ipaddress.IPv6Network("2000::/3")
"""What IANA gives out as global unicast; all else of IPv6 is special or unassigned, whatever Python's tables say."""


def is_public(address: Address) -> bool:
    """Whether an address may be fetched from: global unicast, also after unwrapping IPv4 inside IPv6."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(inner)
        if address not in _UNICAST:
            return False
    return (
        address.is_global
        and not address.is_multicast
        and not address.is_reserved
        and not any(address in network for network in _REFUSED)
    )


async def resolve(host: str, port: int) -> list[str]:
    """The addresses of a host, by the system's resolver.

    Raises:
        OSError: there are none.
    """
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def _ignore(size: int) -> None:
    del size


@dataclass(frozen=True, slots=True)
class Fetcher:
    """Fetches within limits.

    Attributes:
        max_bytes: most bytes of a body.
        timeout_s: longest time for one document, redirects included, in seconds.
        hosts: when not empty, the only host names that are fetched from.
        ports: the only ports that are connected to.
        allowed: which addresses may be connected to.
        resolver: from host and port to addresses.
    """

    max_bytes: int
    timeout_s: float
    hosts: Collection[str] = ()
    ports: Collection[int] = (80, 443)
    allowed: Callable[[Address], bool] = is_public
    resolver: Resolver = resolve

    async def fetch(self, url: str, on_bytes: OnBytes = _ignore) -> bytes:
        """The body behind an http(s) address.

        Args:
            url: the address.
            on_bytes: called with the size of each piece of the body; what it raises ends the fetch.

        Raises:
            PageError: the address is refused, cannot be reached, or its body is too large or too slow.
        """
        import httpx

        try:
            async with asyncio.timeout(self.timeout_s):
                return await self._follow(url, on_bytes)
        except TimeoutError as error:
            raise PageError(f"the address did not answer within {self.timeout_s:g} s: send the picture itself") from error
        except (httpx.HTTPError, httpx.InvalidURL, OSError, UnicodeError) as error:
            raise PageError(f"the address cannot be fetched ({type(error).__name__}): send the picture itself") from error

    async def _follow(self, url: str, on_bytes: OnBytes) -> bytes:
        import httpx

        limits = httpx.Timeout(self.timeout_s)
        async with httpx.AsyncClient(trust_env=False, follow_redirects=False, timeout=limits) as client:
            for _ in range(MAX_REDIRECTS + 1):
                host, port, pinned = await self._target(url)
                request = _pinned_request(client, url, host, port, pinned)
                response = await client.send(request, stream=True)
                try:
                    if response.status_code in REDIRECTS and "location" in response.headers:
                        url = urljoin(url, response.headers["location"])
                        continue
                    return await self._body(response, on_bytes)
                finally:
                    await response.aclose()
        raise PageError(f"the address was redirected more than {MAX_REDIRECTS} times: send the picture itself")

    async def _target(self, url: str) -> tuple[str, int, str]:
        """Host, port and the checked address to connect to.

        Raises:
            PageError: it is refused.
        """
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)
        except ValueError as error:
            raise PageError("the address is malformed: send the picture itself") from error
        if parts.scheme not in {"http", "https"} or not host:
            raise PageError("only http and https addresses are fetched, at the first step and after every redirect")
        if parts.username is not None or parts.password is not None:
            raise PageError("an address with a user name or password is not fetched")
        if port not in self.ports:
            raise PageError(f"port {port} is not fetched from; allowed: {', '.join(map(str, self.ports))}")
        if self.hosts and host.lower().rstrip(".") not in {name.lower() for name in self.hosts}:
            raise PageError(f"the host {host!r} is not among those that this server fetches from")
        addresses = await self.resolver(host, port)
        if not addresses or not all(self.allowed(ipaddress.ip_address(a.partition("%")[0])) for a in addresses):
            raise PageError(f"the host {host!r} has no public address, and others are not fetched from")
        return host, port, addresses[0]

    async def _body(self, response: httpx.Response, on_bytes: OnBytes) -> bytes:
        if response.status_code != 200:
            raise PageError(f"the address answered {response.status_code}: send the picture itself")
        if response.headers.get("content-encoding", "identity").lower() not in {"", "identity"}:
            raise PageError("the address answered with a compressed body, which is not taken")
        body = bytearray()
        async for chunk in response.aiter_raw(_CHUNK):
            on_bytes(len(chunk))
            body += chunk
            if len(body) > self.max_bytes:
                raise PageError(f"the address answered with more than {self.max_bytes:,} bytes: send a smaller picture")
        return bytes(body)


def _pinned_request(client: httpx.AsyncClient, url: str, host: str, port: int, address: str) -> httpx.Request:
    """A request that connects to ``address`` and speaks to ``host``."""
    import httpx

    target = httpx.URL(url).copy_with(host=address, port=port, fragment=None)
    named = f"[{host}]" if ":" in host else host
    default = 443 if target.scheme == "https" else 80
    headers = {
        "Host": named if port == default else f"{named}:{port}",
        "Accept": "image/*",
        "Accept-Encoding": "identity",
        "User-Agent": "mmr5",
    }
    return client.build_request("GET", target, headers=headers, extensions={"sni_hostname": host})
