# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates for tests, made by openssl: a CA, and folders as the memserver and QEMU read them."""

from __future__ import annotations

import datetime
import shutil
import ssl
import subprocess
from pathlib import Path

KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
CONFIG = ("-config", "/dev/null")
# The memserver's address in tests, and the names of the main host that it knows.
ME = "127.0.0.1"
KNOWN = "DNS:main-1,IP:192.0.2.1"

BOTH = "serverAuth,clientAuth"


def _openssl(*arguments: object) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


class Authority:
    """A certificate authority of its own."""

    def __init__(self, folder: Path):
        folder.mkdir()
        self.certificate = folder / "ca-cert.pem"
        self._key = folder / "ca-key.pem"
        self._settings = folder / "settings"
        (folder / "database").touch()
        self._settings.write_text(
            f"[ca]\ndefault_ca=own\n[own]\ndatabase={folder / 'database'}\nnew_certs_dir={folder}\nunique_subject=no\n"
            "default_md=sha256\nrand_serial=yes\npolicy=any\n[any]\ncommonName=supplied\n"
        )
        _openssl(
            "req", "-x509", *CONFIG, *KEY, "-keyout", self._key, "-out", self.certificate,
            "-subj", "/CN=test CA", "-days", "2",
            "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign",
        )  # fmt: skip

    def issue(self, folder: Path, common_name: str, names: str = "", purpose: str = BOTH, days: float = 1) -> Path:
        """Make the folder of a host whose certificate has these names (as DNS:a,IP:b), as server and as client.

        A folder that is there gets a new one.
        days: how long it is good, from a week ago on; -1: until yesterday.
        """
        folder.mkdir(exist_ok=True)
        shutil.copy(self.certificate, folder / "ca-cert.pem")
        request, extensions = folder / "request.pem", folder / "extensions"
        _openssl(
            "req", "-new", *CONFIG, *KEY, "-keyout", folder / "server-key.pem", "-out", request,
            "-subj", f"/CN={common_name}",
        )  # fmt: skip
        extensions.write_text(
            f"extendedKeyUsage={purpose}\nkeyUsage=critical,digitalSignature\n"
            + (f"subjectAltName={names}\n" if names else "")
        )
        now = datetime.datetime.now(datetime.UTC)
        begin, end = (now + datetime.timedelta(days=offset) for offset in (-7, days))
        self._ca(
            "-batch", "-notext", "-in", request, "-out", folder / "server-cert.pem", "-extfile", extensions,
            "-startdate", f"{begin:%Y%m%d%H%M%SZ}", "-enddate", f"{end:%Y%m%d%H%M%SZ}",
        )  # fmt: skip
        for part in ("cert", "key"):
            shutil.copy(folder / f"server-{part}.pem", folder / f"client-{part}.pem")
        return folder

    def revoke(self, folder: Path) -> bytes:
        """Revoke the certificate of a host's folder; returns the list of what is revoked, in PEM."""
        self._ca("-revoke", folder / "server-cert.pem")
        self._ca("-gencrl", "-crldays", 1, "-out", folder / "revoked.pem")
        return (folder / "revoked.pem").read_bytes()

    def _ca(self, *arguments: object) -> None:
        _openssl("ca", "-config", self._settings, "-cert", self.certificate, "-keyfile", self._key, *arguments)


def context(folder: Path, own: bool = True) -> ssl.SSLContext:
    """A client with the certificate of that folder; or without one."""
    made = ssl.create_default_context(cafile=folder / "ca-cert.pem")
    if own:
        made.load_cert_chain(folder / "client-cert.pem", folder / "client-key.pem")
    return made
