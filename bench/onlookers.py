"""Job: many open pages and one Prometheus, as a process of its own: they read the stream and scrape each second.

Thread: MainThread. Lock: none. Units: s, bytes. `python bench/onlookers.py PORT PAGES`; prints one JSON line a second.
"""

from __future__ import annotations

import json
import os
import selectors
import socket
import sys
import time
import urllib.error
import urllib.request

CHUNK = 1 << 18


def stream(port: int) -> socket.socket:
    made = socket.create_connection(("127.0.0.1", port))
    made.sendall(f"GET /api/stream HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
    made.setblocking(False)
    return made


def scrape(port: int) -> float:
    """Seconds that it took."""
    begun_s = time.monotonic()
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5.0).read()
    except urllib.error.HTTPError as error:  # no metrics there: what is answered says so
        error.read()
    return time.monotonic() - begun_s


def main(port: int, pages: int) -> None:
    os.nice(10)  # real pages are read by other computers
    heard, snapshots = 0, 0
    with selectors.DefaultSelector() as ready:
        for _ in range(pages):
            ready.register(stream(port), selectors.EVENT_READ)
        due_s = time.monotonic()
        while True:
            for key, _ in ready.select(max(0.0, due_s - time.monotonic())):
                sock = key.fileobj
                assert isinstance(sock, socket.socket)
                data = sock.recv(CHUNK)
                heard += len(data)
                snapshots += data.count(b"event: snapshot")
            if time.monotonic() >= due_s:
                due_s += 1.0
                took_ms = scrape(port) * 1000.0
                print(json.dumps({"bytes": heard, "snapshots": snapshots, "scrape_ms": round(took_ms, 1)}), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
