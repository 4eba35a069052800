"""An upstream behind TLS."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from app.simulate.model_api import ModelApi


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a self-signed certificate for 127.0.0.1, made for this run."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl, which makes the certificate, is not installed")
    folder = tmp_path_factory.mktemp("tls")
    command = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    command += ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*command, "-keyout", "key.pem", "-out", "cert.pem"], cwd=folder, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def secured(rig: Any, certificate: Path) -> str:
    """Address of a simulated API that serves TLS."""
    options = {"ssl_certfile": str(certificate / "cert.pem"), "ssl_keyfile": str(certificate / "key.pem")}
    return str(rig.thread.serve(ModelApi(), **options)).replace("http://", "https://")


def get(key: str) -> bytes:
    """A request for the models."""
    return b"GET /v1/models HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %b\r\n\r\n" % key.encode()


def test_trusted_certificate_is_served(
    rig: Any, secured: str, certificate: Path, raw: Any, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its certificate among the system's, an upstream is reached over TLS, on one kept connection."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate / "cert.pem"))
    gateway = rig.gateway(upstream=secured)
    wire = raw(gateway.url, get(key) * 3, replies=3)
    assert [reply.status for reply in wire.replies] == [200, 200, 200]


def test_unknown_certificate_is_our_502(rig: Any, secured: str, raw: Any, key: str) -> None:
    """An upstream whose certificate nobody vouches for gets no request, and the client a 502."""
    gateway = rig.gateway(upstream=secured)
    assert raw(gateway.url, get(key)).reply.status == 502
