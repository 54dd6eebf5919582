import asyncio
import http.server
import ipaddress
import threading
from collections.abc import Iterator

import pytest

from mmr5.errors import PageError
from mmr5.server.fetching import Fetcher, is_public
from mmr5.server.http_errors import WireError

from .conftest import png


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.9.9.9", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "100.100.100.200",
        "192.0.0.192", "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "168.63.129.16", "::1", "::", "fe80::1", "fc00::1",
        "fd00:ec2::254", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "2002:7f00:1::", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe",
        "2001::1", "2001:db8::1", "fec0::1", "3fff::1", "3fff:fff:ffff::1", "5f00::1", "100:0:0:1::1",
    ],
)  # fmt: skip
def test_inside_addresses_are_not_public(address):
    assert not is_public(ipaddress.ip_address(address))


# What the IANA registries of special-purpose addresses call not globally reachable, or deprecated.
SPECIAL = """
0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.0.0/29 192.0.0.8/32 192.0.0.170/32 192.0.0.171/32
192.0.2.0/24 192.88.99.0/24 192.168.0.0/16 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 240.0.0.0/4 255.255.255.255/32 224.0.0.0/4
::1/128 ::/128 64:ff9b:1::/48 100::/64 100:0:0:1::/64 2001::/32 2001:2::/48 2001:10::/28 2001:db8::/32 3fff::/20 5f00::/16
fc00::/7 fe80::/10 fec0::/10 ff00::/8 ::127.0.0.1/128 4000::/3
""".split()


@pytest.mark.parametrize("network", SPECIAL)
def test_special_purpose_ranges_are_not_public(network):
    found = ipaddress.ip_network(network)
    for address in (found[0], found[found.num_addresses // 2], found[-1]):
        assert not is_public(address), address


@pytest.mark.parametrize("address", ["1.1.1.1", "93.184.216.34", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"])
def test_outside_addresses_are_public(address):
    assert is_public(ipaddress.ip_address(address))


class Site:
    """A small web site on the loopback; it stands for the public web where a test allows it to."""

    def __init__(self) -> None:
        site = self
        self.seen: list[tuple[str, str]] = []
        self.redirect = ""

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                site.seen.append((self.path, self.headers["Host"]))
                if self.path == "/redirect":
                    self.send_response(302)
                    self.send_header("Location", site.redirect)
                    self.end_headers()
                elif self.path == "/endless":
                    self.send_response(200)
                    self.end_headers()
                    try:
                        for _ in range(10_000):
                            self.wfile.write(b"x" * 65536)
                    except OSError:
                        pass
                elif self.path == "/slow":
                    self.send_response(200)
                    self.end_headers()
                    try:
                        for _ in range(100):
                            self.wfile.write(b"x")
                            self.wfile.flush()
                            threading.Event().wait(0.05)
                    except OSError:
                        pass
                elif self.path == "/zipped":
                    self.send_response(200)
                    self.send_header("Content-Encoding", "gzip")
                    self.end_headers()
                else:
                    self.send_response(200)
                    self.end_headers()
                    self.wfile.write(png())

            def log_message(self, *arguments):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()


@pytest.fixture
def site() -> Iterator[Site]:
    running = Site()
    yield running
    running.server.shutdown()
    running.server.server_close()


def names(table):
    calls = []

    async def resolver(host, port):
        calls.append(host)
        answer = table[host]
        return answer.pop(0) if isinstance(answer[0], list) else answer

    resolver.calls = calls
    return resolver


def fetcher(site, table=None, allowed=lambda a: True, **options):
    limits = {"max_bytes": 100_000, "timeout_s": 2.0, **options}
    return Fetcher(ports=(site.port,), allowed=allowed, resolver=names(table or {"pages.example": ["127.0.0.1"]}), **limits)


def get(fetch, url):
    return asyncio.run(fetch.fetch(url))


def test_a_picture_is_fetched_from_the_checked_address_under_its_own_name(site):
    assert get(fetcher(site), f"http://pages.example:{site.port}/p.png") == png()
    assert site.seen == [("/p.png", f"pages.example:{site.port}")]


def test_a_name_is_resolved_once_so_that_it_cannot_be_rebound(site):
    fetch = fetcher(site, {"pages.example": [["127.0.0.1"], ["10.0.0.1"]]}, allowed=lambda a: str(a) == "127.0.0.1")
    get(fetch, f"http://pages.example:{site.port}/p.png")
    assert fetch.resolver.calls == ["pages.example"]


def test_one_inside_address_among_outside_ones_is_enough_to_refuse(site):
    fetch = fetcher(site, {"pages.example": ["127.0.0.1", "10.0.0.1"]}, allowed=lambda a: str(a) == "127.0.0.1")
    with pytest.raises(PageError, match="no public address"):
        get(fetch, f"http://pages.example:{site.port}/p.png")
    assert site.seen == []


@pytest.mark.parametrize(
    "target",
    [
        "http://inside.example:{port}/p.png",
        "file:///etc/passwd",
        "ftp://pages.example/p",
        "http://inside.example:22/",
        "//user@inside.example:{port}/",
    ],
)
def test_a_redirect_is_checked_like_the_first_address(site, target):
    site.redirect = target.format(port=site.port)
    fetch = fetcher(
        site, {"pages.example": ["127.0.0.1"], "inside.example": ["10.0.0.1"]}, allowed=lambda a: str(a) == "127.0.0.1"
    )
    with pytest.raises(PageError):
        get(fetch, f"http://pages.example:{site.port}/redirect")
    assert [path for path, _ in site.seen] == ["/redirect"]


def test_a_good_redirect_is_followed_and_a_ring_ends(site):
    site.redirect = "/p.png"
    assert get(fetcher(site), f"http://pages.example:{site.port}/redirect") == png()
    site.redirect = "/redirect"
    with pytest.raises(PageError, match="redirected more than"):
        get(fetcher(site), f"http://pages.example:{site.port}/redirect")


def test_each_piece_is_counted_and_may_end_the_fetch(site):
    sizes = []
    assert asyncio.run(fetcher(site).fetch(f"http://pages.example:{site.port}/p.png", sizes.append)) == png()
    assert sum(sizes) == len(png())

    def refuse(size):
        raise WireError(503, "no more")

    with pytest.raises(WireError):
        asyncio.run(fetcher(site).fetch(f"http://pages.example:{site.port}/endless", refuse))


def test_size_and_time_are_bounded(site):
    with pytest.raises(PageError, match="more than 100,000 bytes"):
        get(fetcher(site), f"http://pages.example:{site.port}/endless")
    with pytest.raises(PageError, match="did not answer within"):
        get(fetcher(site, timeout_s=0.3), f"http://pages.example:{site.port}/slow")
    with pytest.raises(PageError, match="compressed"):
        get(fetcher(site), f"http://pages.example:{site.port}/zipped")


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "http://localhost/",
        "http://2130706433/",
        "http://0x7f.1/",
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://0/",
        "http://169.254.169.254/latest/meta-data/",
    ],
)
def test_the_real_resolver_finds_no_way_inside(url):
    with pytest.raises(PageError):
        get(Fetcher(1000, 2.0), url)


@pytest.mark.parametrize(
    "url",
    [
        "http://user:pass@pages.example/",
        "http://pages.example:22/",
        "gopher://pages.example/",
        "http:///p",
        "http://[bad/",
        "http://pages.example:99999/",
    ],
)
def test_odd_addresses_are_refused_before_a_name_is_resolved(site, url):
    fetch = fetcher(site)
    with pytest.raises(PageError):
        get(fetch, url)
    assert fetch.resolver.calls == []


def test_only_listed_hosts(site):
    with pytest.raises(PageError, match="not among those"):
        get(fetcher(site, hosts=("other.example",)), f"http://pages.example:{site.port}/p.png")
    assert get(fetcher(site, hosts=("Pages.Example",)), f"http://pages.example:{site.port}/p.png") == png()
