"""What hostile requests do to the server: each against a server of its own, on 127.0.0.1 only.

    python benchmarks/serve_attacks.py
    python benchmarks/serve_attacks.py --pictures 2000

A row an attack: the statuses of its requests, their seconds, the longest that ``GET /health`` took meanwhile, and the highest
memory of the server and of the processes that it started. ``--only`` names attacks; ``--pictures`` sends so many requests with a
picture instead, and prints the memory on the way. Every attack is bounded: at most 110 requests, and 120 s of waiting for an
answer. To attack another version of the sources, put it first on ``PYTHONPATH``.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import ctypes
import http.client
import io
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

WAIT_S = 120.0
"""Longest wait for an answer."""
JSON_TYPE = {"Content-Type": "application/json"}
MIB = 1024 * 1024


# --- bodies -----------------------------------------------------------------------------------------------------------


def listed(name: str, item: str, size: int) -> bytes:
    """A body of ``size`` bytes with a list of one item again and again."""
    count = size // (len(item) + 1)
    return f'{{"query":"a","{name}":[{",".join([item] * count)}]}}'.encode()


def in_document(value: str) -> bytes:
    """A body whose only document is the given JSON."""
    return f'{{"query":"a","documents":[{value}]}}'.encode()


def json_bodies(size: int) -> dict[str, bytes]:
    """Hostile JSON bodies of about ``size`` bytes, by name."""
    keys = ",".join(f'"k{i:07}":1' for i in range(size // 13))
    return {
        "documents: numbers": listed("documents", "1", size),
        "documents: empty objects": listed("documents", "{}", size),
        "documents: empty lists": listed("documents", "[]", size),
        "texts: numbers": listed("texts", "1", size),
        "content: numbers": in_document(f'{{"content":[{",".join(["1"] * (size // 2))}]}}'),
        "content: empty objects": in_document(f'{{"content":[{",".join(["{}"] * (size // 3))}]}}'),
        "unknown keys": f'{{"query":"a","documents":["b"],{keys}}}'.encode(),
        "unknown keys in a document": in_document(f'{{"text":"b",{keys}}}'),
        "nested lists": in_document("[" * (size // 2) + "]" * (size // 2)),
        "nested objects": in_document('{"a":' * (size // 6) + "1" + "}" * (size // 6)),
        "a number of many digits": in_document("1" * size),
        "a fraction of many digits": in_document("0." + "1" * size),
        "escapes": in_document('"' + "\\u0041" * (size // 6) + '"'),
        "quotes in a text": in_document('"' + '\\"' * (size // 2) + '"'),
        "base64 with blanks": in_document('{"image":"' + "a " * (size // 2) + '"}'),
        "base64 with line ends": in_document('"iVBORw0KGgo' + "a\\n" * (size // 3) + '"'),
        "percent signs": in_document('{"image":"data:image/png;base64,' + "%41" * (size // 3) + '"}'),
        "an address of many letters": in_document('"https://' + "a" * size + '"'),
        "a text of many letters": in_document('"' + "a" * size + '"'),
    }


def nested_pdf(depth: int = 12, calls: int = 12) -> bytes:
    """A small PDF whose page draws a form that draws a form …, ``calls ** depth`` in all."""
    objects = ["<< /Type /Catalog /Pages 2 0 R >>", "<< /Type /Pages /Kids [3 0 R] /Count 1 >>"]
    objects.append(
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 500 800] /Resources << /XObject << /F 5 0 R >> >> /Contents 4 0 R >>"
    )
    objects.append(stream("<< /Length {} >>", "/F Do\n" * calls))
    for level in range(depth):
        last = level == depth - 1
        body = "0 0 10 10 re f\n" if last else "/F Do\n" * calls
        inner = "" if last else f"/Resources << /XObject << /F {6 + level} 0 R >> >> "
        objects.append(stream(f"<< /Type /XObject /Subtype /Form /BBox [0 0 500 800] {inner}/Length {{}} >>", body))
    text, offsets = "%PDF-1.4\n", []
    for number, content in enumerate(objects, start=1):
        offsets.append(len(text))
        text += f"{number} 0 obj\n{content}\nendobj\n"
    table = "".join(f"{offset:010} 00000 n \n" for offset in offsets)
    head = f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}trailer << /Size {len(objects) + 1} /Root 1 0 R >>"
    return f"{text}{head}\nstartxref\n{len(text)}\n%%EOF".encode()


def stream(dictionary: str, body: str) -> str:
    """A PDF's stream object."""
    return f"{dictionary.format(len(body))}\nstream\n{body}\nendstream"


def text_pdf(text: str) -> bytes:
    """An honest PDF of one page."""
    import pypdfium2 as pdfium

    document = pdfium.PdfDocument.new()
    page = document.new_page(500, 800)
    font = pdfium.raw.FPDFText_LoadStandardFont(document.raw, b"Helvetica")
    made = pdfium.raw.FPDFPageObj_CreateTextObj(document.raw, font, 12.0)
    letters = ctypes.create_string_buffer((text + "\0").encode("utf-16-le"))
    pdfium.raw.FPDFText_SetText(made, ctypes.cast(letters, ctypes.POINTER(ctypes.c_ushort)))
    pdfium.raw.FPDFPage_InsertObject(page.raw, made)
    page.gen_content()
    buffer = io.BytesIO()
    document.save(buffer)
    return buffer.getvalue()


def picture(kind: str, mode: str = "RGB", size: tuple[int, int] = (300, 200)) -> bytes:
    """A picture of a kind."""
    import PIL.Image

    buffer = io.BytesIO()
    options = {"compression": "tiff_adobe_deflate"} if kind == "TIFF" else {}
    PIL.Image.new(mode, size, 0).save(buffer, kind, **options)
    return buffer.getvalue()


def one_bit_png(width: int, height: int) -> bytes:
    """A white PNG of one bit a pixel."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + name + data + zlib.crc32(name + data).to_bytes(4, "big")

    row = b"\0" + b"\xff" * ((width + 7) // 8)
    head = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([1, 0, 0, 0, 0])
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(row * height, 9)) + chunk(b"IEND", b"")


def of_pictures(pictures: list[bytes]) -> bytes:
    """A body with pictures."""
    documents = [{"image": base64.b64encode(data).decode()} for data in pictures]
    return json.dumps({"query": "a", "documents": documents}).encode()


def form(files: list[tuple[str, bytes]], fields: dict[str, str]) -> tuple[bytes, dict[str, str]]:
    """A multipart body and its headers."""
    boundary = "mmr5boundary"
    parts = [f'--{boundary}\r\nContent-Disposition: form-data; name="{n}"\r\n\r\n{v}\r\n'.encode() for n, v in fields.items()]
    for name, data in files:
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'
        parts.append(head.encode() + data + b"\r\n")
    body = b"".join(parts) + f"--{boundary}--\r\n".encode()
    return body, {"Content-Type": f"multipart/form-data; boundary={boundary}"}


# --- the server -------------------------------------------------------------------------------------------------------


class Server:
    """``mmr5 serve --engine scripted`` on a free port.

    Args:
        flags: further ones.
        descriptors: most open files of it; None leaves the system's.
        folder: for temporary files; None leaves the system's.
    """

    def __init__(self, *flags: str, descriptors: int | None = None, folder: Path | None = None) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        command = [sys.executable, "-m", "mmr5.cli.main", "serve", "--engine", "scripted", "--retriever", "bm25"]
        command += ["--port", str(self.port), *flags]
        if descriptors is not None:
            command = ["bash", "-c", f'ulimit -n {descriptors}; exec "$@"', "bash", *command]
        environment = {**os.environ, "NO_COLOR": "1"} | ({} if folder is None else {"TMPDIR": str(folder)})
        self.log = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the server
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log, env=environment)
        until = time.monotonic() + 60
        while True:
            with contextlib.suppress(OSError, http.client.HTTPException):
                if self.ask("GET", "/ready", seconds=5)[0] == 200:
                    return
            if time.monotonic() > until or self.process.poll() is not None:
                self.stop()
                raise SystemExit("the server did not start")
            time.sleep(0.05)

    def ask(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None, seconds: float = WAIT_S
    ) -> tuple[int, bytes, dict[str, str]]:
        """Status, body and headers (by lower-case name) of an answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=seconds)
        try:
            connection.request(method, path, body or None, headers or {})
            answer = connection.getresponse()
            return answer.status, answer.read(), {name.lower(): value for name, value in answer.getheaders()}
        finally:
            connection.close()

    def status(self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None) -> str:
        """The status of an answer, or the kind of the error."""
        try:
            return str(self.ask(method, path, body, headers)[0])
        except (OSError, http.client.HTTPException) as error:
            return type(error).__name__

    def stop(self, how: signal.Signals = signal.SIGKILL) -> None:
        """End it."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(how)
        self.process.wait(60)

    def peak_mib(self) -> float:
        """The highest resident memory of the server so far."""
        return _status_mib(self.process.pid, "VmHWM")

    def resident_mib(self) -> float:
        """Resident memory of the server."""
        return _status_mib(self.process.pid, "VmRSS")

    def children_mib(self) -> float:
        """Resident memory of the processes that it started."""
        found = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        with contextlib.suppress(OSError):
            return sum(_status_mib(int(child), "VmRSS") for child in found.read_text().split())
        return 0.0


def _status_mib(process: int, name: str) -> float:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{process}/status").read_text().splitlines():
            if line.startswith(name + ":"):
                return int(line.split()[1]) / 1024
    return 0.0


@dataclass
class Watch:
    """Looks at a server while it is attacked.

    Attributes:
        longest_s: the longest that ``GET /health`` took, in seconds.
        failed: how often it failed.
        children_mib: the highest memory of the server's processes.
    """

    server: Server
    longest_s: float = 0.0
    failed: int = 0
    children_mib: float = 0.0
    _stop: threading.Event = field(default_factory=threading.Event)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Look until the end of the block."""
        threads = [threading.Thread(target=self._health), threading.Thread(target=self._memory)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()

    def _health(self) -> None:
        while not self._stop.is_set():
            started = time.monotonic()
            try:
                self.failed += self.server.ask("GET", "/health", seconds=WAIT_S)[0] != 200
            except (OSError, http.client.HTTPException):
                self.failed += 1
            self.longest_s = max(self.longest_s, time.monotonic() - started)
            self._stop.wait(0.02)

    def _memory(self) -> None:
        while not self._stop.is_set():
            self.children_mib = max(self.children_mib, self.server.children_mib())
            self._stop.wait(0.05)


# --- attacks ----------------------------------------------------------------------------------------------------------

Attack = Callable[[Server], str]
"""Attacks a server; returns what came back."""


def send_json(body: bytes, path: str = "/v1/rerank") -> Attack:
    """One request."""
    return lambda server: server.status("POST", path, body, JSON_TYPE)


def send_form(body: bytes, headers: dict[str, str]) -> Attack:
    """One search."""
    return lambda server: server.status("POST", "/v1/search", body, headers)


def at_once(number: int, attack: Attack) -> Attack:
    """An attack several times at once."""

    def run(server: Server) -> str:
        with ThreadPoolExecutor(number) as pool:
            return counted(list(pool.map(lambda _: attack(server), range(number))))

    return run


def counted(statuses: list[str]) -> str:
    """Statuses and how often each came."""
    return ", ".join(f"{status} x{n}" if n > 1 else status for status, n in sorted(Counter(statuses).items()))


def all_kinds(server: Server) -> str:
    """An honest picture of every kind that is promised."""
    kinds = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF")
    return ", ".join(f"{kind} {server.status('POST', '/v1/rerank', of_pictures([picture(kind)]), JSON_TYPE)}" for kind in kinds)


def honest_beside_hostile(server: Server) -> str:
    """Two small PDFs that never end, and an honest upload right after them."""

    def upload(name: str, data: bytes) -> str:
        return send_form(*form([(name, data)], {"query": "When was the harbour dredged?"}))(server)

    honest = text_pdf("The harbour was dredged in the spring of 1931 by the dredger Ardent, says the report.")
    with ThreadPoolExecutor(3) as pool:
        hostile = [pool.submit(upload, f"{i}.pdf", nested_pdf() + b"%" * i) for i in range(2)]
        time.sleep(0.5)
        started = time.monotonic()
        status = pool.submit(upload, "honest.pdf", honest).result()
        seconds = time.monotonic() - started
        return f"honest {status} after {seconds:.1f} s; hostile {counted([one.result() for one in hostile])}"


def half_heads(server: Server) -> str:
    """Heads that never end."""
    opened = []
    for _ in range(100):
        connection = socket.create_connection(("127.0.0.1", server.port), timeout=5)
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ")
        opened.append(connection)
    time.sleep(15)
    still = 0
    for connection in opened:
        connection.setblocking(False)
        try:
            still += connection.recv(1) != b""
        except BlockingIOError:
            still += 1
        except OSError:
            pass
        connection.close()
    return f"{still} of 100 open after 15 s"


def exhausted_descriptors(server: Server) -> str:
    """More connections than the server may have open files (it is started with 256), for five seconds."""
    opened = []
    for _ in range(400):
        with contextlib.suppress(OSError):
            opened.append(socket.create_connection(("127.0.0.1", server.port), timeout=1))
    time.sleep(5)
    for connection in opened:
        connection.close()
    time.sleep(1)
    size = os.fstat(server.log.fileno()).st_size
    return f"{size:,} bytes of log, then /health {server.status('GET', '/health')}"


def cross_site(server: Server) -> str:
    """What a page of another site learns of a document that the server holds."""
    body, headers = form([("report.pdf", text_pdf("The harbour was dredged in 1931, says the report on the port."))], {})
    name = json.loads(server.ask("POST", "/v1/files", body, headers)[1])["files"][0]["id"]
    found = []
    for path in (f"/v1/files/{name}/pages/1/thumbnail", "/v1/example"):
        site = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}
        status, _, answer = server.ask("GET", path, headers=site)
        found.append(f"{status} ({answer.get('cross-origin-resource-policy', 'no policy')})")
    return "held page " + ", example ".join(found)


def killed(server: Server) -> str:
    """Folders that a killed server leaves, after another one's start."""
    with tempfile.TemporaryDirectory() as folder:
        first = Server(folder=Path(folder))
        first.stop()
        second = Server(folder=Path(folder))
        left = len(list(Path(folder).glob("mmr5-uploads-*"))) - 1
        second.stop(signal.SIGTERM)
    return f"{left} left over"


def attacks() -> dict[str, Attack]:
    """All attacks, by name."""
    small, large = int(1.9 * MIB), 30 * MIB
    found: dict[str, Attack] = {f"{name}, 1.9 MiB": send_json(body) for name, body in json_bodies(small).items()}
    found |= {f"{name}, 30 MiB": send_json(body) for name, body in json_bodies(large).items()}
    texts = json.dumps({"query": "a", "documents": ["word " * 39_000] * 100, "return_documents": True}).encode()
    found["100 documents of 195,000 characters, sent back"] = send_json(texts)
    found["8 bodies of 30 MiB at once"] = at_once(8, send_json(json_bodies(large)["a text of many letters"]))
    found["a picture of every kind"] = all_kinds
    found["float TIFF of 40 Mpx"] = send_json(of_pictures([picture("TIFF", "F", (8000, 5000))]))
    found["100 PNGs of 40 Mpx, 1 bit"] = send_json(of_pictures([one_bit_png(8000, 5000)] * 100))
    found["two PDFs that never end, and an honest one"] = honest_beside_hostile
    found["a form of 8 MiB of fields"] = send_form(b"a&" * (4 * MIB), {"Content-Type": "application/x-www-form-urlencoded"})
    lines = b"\r\n--mmr5boundar" * (30 * MIB // 15)
    found["an upload of 30 MiB of almost boundaries"] = send_form(*form([("a.pdf", lines)], {"query": "a"}))
    found["100 half-sent heads"] = half_heads
    found["400 connections to 256 descriptors"] = exhausted_descriptors
    found["a page of another site"] = cross_site
    found["killed with SIGKILL"] = killed
    return found


def measure(name: str, attack: Attack) -> str:
    """A row of the table."""
    server = Server("--deadline", "60", descriptors=256 if "descriptors" in name else None)
    watch = Watch(server)
    try:
        with watch.running():
            started = time.monotonic()
            result = attack(server)
            seconds = time.monotonic() - started
        peak = server.peak_mib()
    finally:
        server.stop(signal.SIGTERM if server.process.poll() is None else signal.SIGKILL)
    health = f"{watch.longest_s * 1000:,.0f} ms" + (f", {watch.failed} failed" if watch.failed else "")
    return f"| {name} | {result} | {seconds:.1f} | {health} | {peak:,.0f} | {watch.children_mib:,.0f} |"


def picture_requests(number: int) -> None:
    """Requests with a picture, one after another, and the memory on the way."""
    import PIL.Image

    server = Server("--view", "image")
    try:
        print("| Requests | Resident MiB |\n|---|---|")
        for done in range(number + 1):
            if done % max(1, number // 8) == 0:
                print(f"| {done:,} | {server.resident_mib():,.0f} |", flush=True)
            if done < number:
                buffer = io.BytesIO()
                PIL.Image.effect_noise((400 + done % 100, 400), 80).save(buffer, "PNG")
                assert server.ask("POST", "/v1/rerank", of_pictures([buffer.getvalue()]), JSON_TYPE)[0] == 200
    finally:
        server.stop(signal.SIGTERM)


def main() -> None:
    """Run the attacks and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=[], help="attacks whose name contains one of these")
    parser.add_argument("--pictures", type=int, default=0, help="requests with a picture instead, at most 5,000")
    options = parser.parse_args()
    if not 0 <= options.pictures <= 5000:
        parser.error("--pictures is at most 5,000: this is a bounded load")
    if options.pictures:
        picture_requests(options.pictures)
        return
    print("| Attack | Status | Seconds | Longest /health | Peak MiB | Peak MiB of its processes |\n|---|---|---|---|---|---|")
    for name, attack in attacks().items():
        if not options.only or any(part in name for part in options.only):
            print(measure(name, attack), flush=True)


if __name__ == "__main__":
    main()
