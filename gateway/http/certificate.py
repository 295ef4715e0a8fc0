"""The certificate of the pages: the configured one, or one that is made at the first start and kept.

Browsers give camera and microphone only to secure pages (or localhost), so a self-made certificate, accepted once in
the browser, is better than none. Its fingerprint is said in the log, so that who accepts it can compare.
"""

from __future__ import annotations

import datetime
import hashlib
import ipaddress
import os
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from orbridge.codecs.errors import LocalError
from orbridge.gateway import events

log = structlog.get_logger(__name__)

# Apple's clients refuse server certificates that are valid for longer (support article 103769).
VALID_DAYS = 825
RENEW_DAYS = 30
CERTIFICATE_NAME = "tls-self-made.pem"
KEY_NAME = "tls-self-made.key"


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate on disk.

    Attributes:
        fingerprint: SHA-256 of its DER form, as browsers show it: ``AB:CD:..``.
        expires: the end of its validity.
    """

    path: Path
    key_path: Path
    fingerprint: str
    expires: datetime.datetime
    self_made: bool

    def context(self) -> ssl.SSLContext:
        """A server context, TLS 1.2 and later. Raises LocalError when key and certificate can't be used."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        self.load_into(context)
        return context

    def load_into(self, context: ssl.SSLContext) -> None:
        """Use it for connections from now on. Raises LocalError."""
        try:
            context.load_cert_chain(self.path, self.key_path)
        except (ssl.SSLError, OSError) as exc:
            text = exc.strerror or str(exc)
            raise LocalError(
                f"http.tls_certificate {self.path} with http.tls_key {self.key_path} can't be used: {text}; "
                "both must be PEM files and belong together"
            ) from exc


def configured(path: Path, key_path: Path, now: datetime.datetime) -> Certificate:
    """The certificate that the config names. Raises LocalError when it can't be read or is no longer valid."""
    parsed = read(path)
    if parsed is None:
        raise LocalError(f"http.tls_certificate {path} doesn't exist")
    found = describe(parsed, path, key_path, self_made=False)
    if found.expires <= now:
        raise LocalError(
            f"http.tls_certificate {path} ran out on {found.expires:%Y-%m-%d}: renew it, "
            'or set tls_certificate = "auto"'
        )
    log.info(events.CERTIFICATE_LOADED, path=str(path), sha256=found.fingerprint, expires=f"{found.expires:%Y-%m-%d}")
    return found


def self_made(folder: Path, names: Sequence[str], now: datetime.datetime) -> Certificate:
    """The certificate in the state folder; made when there is none, it runs out soon or lacks one of ``names``.

    Args:
        names: host names and IP addresses that the pages are reached by.

    Raises LocalError when the folder can't be written.
    """
    path, key_path = folder / CERTIFICATE_NAME, folder / KEY_NAME
    parsed = read(path)
    if parsed is not None and key_path.exists():
        lasts = parsed.not_valid_after_utc - now > datetime.timedelta(days=RENEW_DAYS)
        if lasts and set(names) <= names_of(parsed):
            found = describe(parsed, path, key_path, self_made=True)
            log.info(
                events.CERTIFICATE_LOADED, path=str(path), sha256=found.fingerprint, expires=f"{found.expires:%Y-%m-%d}"
            )
            return found
    parsed, key_pem = make(names, now)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(key_path, key_pem)
        write_private(path, parsed.public_bytes(serialization.Encoding.PEM))
    except OSError as exc:
        raise LocalError(
            f"the certificate can't be kept in {folder} ({exc.strerror}): make that folder writable, "
            "or configure http.tls_certificate and http.tls_key"
        ) from exc
    found = describe(parsed, path, key_path, self_made=True)
    log.info(
        events.CERTIFICATE_CREATED,
        path=str(path),
        sha256=found.fingerprint,
        expires=f"{found.expires:%Y-%m-%d}",
        names=list(names),
        advice="browsers warn of it once; compare the fingerprint there with this one",
    )
    return found


def make(names: Sequence[str], now: datetime.datetime) -> tuple[x509.Certificate, bytes]:
    """A new key (P-256) and a certificate for these names, signed by itself. Returns it and the key in PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"orbridge on {names[0]}"[:64])])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=VALID_DAYS))
        .add_extension(x509.SubjectAlternativeName([general_name(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return certificate, pem


def names_here(*addresses: str) -> list[str]:
    """What this host may be called by: its name, localhost, and these addresses without wildcards."""
    found = dict.fromkeys([socket.gethostname(), "localhost", "127.0.0.1", "::1"])
    for text in addresses:
        try:
            if ipaddress.ip_address(text).is_unspecified:
                continue
        except ValueError:
            pass
        if text:
            found[text] = None
    return [name for name in found if is_certifiable(name)]


def is_certifiable(name: str) -> bool:
    """An IP address, or a host name in ASCII."""
    try:
        general_name(name)
    except ValueError:
        return False
    return True


def general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def names_of(certificate: x509.Certificate) -> set[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return set()
    return set(names.get_values_for_type(x509.DNSName)) | {
        str(address) for address in names.get_values_for_type(x509.IPAddress)
    }


def read(path: Path) -> x509.Certificate | None:
    """The first certificate of a PEM file; None when there is no such file. Raises LocalError when it is none."""
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as exc:
        raise LocalError(f"certificate {path} can't be read: {exc.strerror}") from exc
    except ValueError as exc:
        raise LocalError(f"{path} isn't a certificate in PEM form") from exc


def describe(certificate: x509.Certificate, path: Path, key_path: Path, *, self_made: bool) -> Certificate:
    digest = hashlib.sha256(certificate.public_bytes(serialization.Encoding.DER)).hexdigest().upper()
    fingerprint = ":".join(digest[at : at + 2] for at in range(0, len(digest), 2))
    return Certificate(path, key_path, fingerprint, certificate.not_valid_after_utc, self_made)


def write_private(path: Path, data: bytes) -> None:
    """Replace the file at once, readable for this user alone."""
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
