"""Job: certificates for tests with TLS, made with openssl by an authority of our own.

Thread: the test's. Lock: none. Units: none.
"""

from __future__ import annotations

import subprocess
from pathlib import Path


class Authority:
    """A CA of our own, made with openssl, and the certificates it signs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._openssl("req", "-x509", *self._new_key("ca"), "-subj", "/CN=test CA", "-days", "2", "-out", "ca.pem")

    def issue(self, name: str, alt_name: str) -> None:
        self._openssl("req", *self._new_key(name), "-subj", f"/CN={name}", "-out", f"{name}.csr")
        (self.folder / "ext").write_text(f"subjectAltName={alt_name}\n")
        signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "ext")
        self._openssl("x509", "-req", "-in", f"{name}.csr", *signed, "-out", f"{name}.pem")

    def _new_key(self, name: str) -> tuple[str, ...]:
        return ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", f"{name}.key")

    def _openssl(self, *arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=self.folder, check=True, capture_output=True)
