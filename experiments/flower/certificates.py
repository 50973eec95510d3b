"""TLS certificates and node keys for a trial on one machine.

A deployment brings its own; see Flower's documentation on TLS and on authenticated SuperNodes.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import NameOID

VALID: Final = datetime.timedelta(days=7)
AUTHORITY: Final = "authority.pem"
CERTIFICATE: Final = "server.pem"
KEY: Final = "server.key"
ISSUER: Final = "stsflora loopback authority"


def make_server_files(folder: Path) -> None:
    """Write `AUTHORITY`, and `CERTIFICATE` with its `KEY` for 127.0.0.1 and localhost.

    The authority is a fresh one, whose own key is not kept.
    """
    authority_key, server_key = (ec.generate_private_key(ec.SECP384R1()) for _ in range(2))
    places = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    authority = _builder(ISSUER, authority_key, authority_key, is_authority=True)
    server = _builder("localhost", server_key, authority_key, is_authority=False).add_extension(
        x509.SubjectAlternativeName(places), critical=False
    )
    for name, builder in ((AUTHORITY, authority), (CERTIFICATE, server)):
        _write(folder / name, builder.sign(authority_key, SHA256()).public_bytes(Encoding.PEM))
    key = server_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    _write(folder / KEY, key)


def make_node_key(folder: Path, name: str) -> tuple[Path, Path]:
    """Write a node's private and public key in OpenSSH's format, as Flower wants them; their files."""
    key = ec.generate_private_key(ec.SECP384R1())
    private, public = folder / name, folder / f"{name}.pub"
    _write(private, key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    _write(public, key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH))
    return private, public


def _builder(
    subject: str,
    key: ec.EllipticCurvePrivateKey,
    authority_key: ec.EllipticCurvePrivateKey,
    *,
    is_authority: bool,
) -> x509.CertificateBuilder:
    """A certificate of the authority, to be signed: of its own key, or of a server's."""
    now = datetime.datetime.now(datetime.UTC)
    public, issuer = key.public_key(), authority_key.public_key()
    usage = x509.KeyUsage(
        digital_signature=not is_authority,
        key_cert_sign=is_authority,
        crl_sign=is_authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
    constraints = x509.BasicConstraints(ca=is_authority, path_length=0 if is_authority else None)
    return (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(_name(ISSUER))
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + VALID)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer), critical=False)
        .add_extension(constraints, critical=True)
        .add_extension(usage, critical=True)
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _write(file: Path, data: bytes) -> None:
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as stream:
        stream.write(data)
