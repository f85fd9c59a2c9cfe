"""Certificates for tests: an authority, and what it signs, as PEM files."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

LOOPBACK = (x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1")))


@dataclass(frozen=True)
class Pair:
    """A certificate with its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def cert_pem(self) -> bytes:
        """Return the certificate."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        """Return the key, without a password."""
        return self.private(serialization.NoEncryption())

    @property
    def der(self) -> bytes:
        """Return the certificate as a TLS client sees it."""
        return self.certificate.public_bytes(serialization.Encoding.DER)

    def private(self, encryption: serialization.KeySerializationEncryption) -> bytes:
        """Return the key."""
        return self.key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)

    def write(self, folder: Path, name: str) -> tuple[Path, Path]:
        """Write both to files, each renamed to its place, and return where."""
        cert, key = folder / f"{name}.pem", folder / f"{name}.key"
        for path, content in ((cert, self.cert_pem), (key, self.key_pem)):
            fresh = path.with_suffix(path.suffix + ".new")
            fresh.write_bytes(content)
            fresh.replace(path)
        return cert, key


@dataclass(frozen=True)
class Authority:
    """Signs certificates."""

    pair: Pair = field(default_factory=lambda: _issue("authority", (), None))

    def issue(self, *names: x509.GeneralName, lasts: timedelta = timedelta(days=90)) -> Pair:
        """Return a new certificate for these names, signed by this authority."""
        return _issue("somebody", names, self.pair, lasts)

    def server(self, lasts: timedelta = timedelta(days=90)) -> Pair:
        """Return a new certificate for a server on loopback."""
        return self.issue(*LOOPBACK, lasts=lasts)

    def client(self, uri: str) -> Pair:
        """Return a new certificate for a client with a URI as its name."""
        return self.issue(x509.UniformResourceIdentifier(uri))

    def write(self, folder: Path, name: str = "ca.pem") -> Path:
        """Write the authority's own certificate to a file, and return where."""
        path = folder / name
        path.write_bytes(self.pair.cert_pem)
        return path


def _issue(
    common_name: str,
    names: tuple[x509.GeneralName, ...],
    issuer: Pair | None,
    lasts: timedelta = timedelta(days=90),
) -> Pair:
    now = datetime.now(UTC)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=30))
        .not_valid_after(now + lasts)
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return Pair(builder.sign(issuer.key if issuer else key, hashes.SHA256()), key)


def client_context(*, lowest: ssl.TLSVersion | None = None, highest: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    """Return a context of Python's own TLS that trusts everybody, offers HTTP/2, and these versions."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    if highest is not None:
        context.maximum_version = highest
    if lowest is not None:
        context.minimum_version = lowest
    return context
