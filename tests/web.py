"""Job: plain HTTP to pages and servers of the tests, all of them on this machine.

Thread: the test's. Lock: none. Units: none. There is no TLS here, so no certificates are read: that takes a processor a
tenth of a second, and some tests ask each 10 ms.
"""

from __future__ import annotations

from typing import Any

import httpx


def get(url: str, **given: Any) -> httpx.Response:
    """As httpx.get. Raises httpx.HTTPError."""
    return httpx.get(url, verify=False, trust_env=False, **given)


def post(url: str, **given: Any) -> httpx.Response:
    """As httpx.post. Raises httpx.HTTPError."""
    return httpx.post(url, verify=False, trust_env=False, **given)
