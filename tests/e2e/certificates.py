"""A certificate that a test makes for itself."""

import ssl
import subprocess
from pathlib import Path


def self_made_certificate(folder: Path) -> Path:
    """Certificate and key in one PEM file, as baresip wants it and everybody else takes it."""
    path = folder / "tls.pem"
    key, cert = folder / "key.pem", folder / "cert.pem"
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=127.0.0.1 "
        "-addext subjectAltName=IP:127.0.0.1"
    )
    subprocess.run(
        [*command.split(), "-keyout", str(key), "-out", str(cert)], check=True, capture_output=True, timeout=30
    )
    path.write_text(cert.read_text() + key.read_text())
    ssl.create_default_context().load_cert_chain(path)
    return path
