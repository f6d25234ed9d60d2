"""Certificates as files: the self-signed one a set-up makes, and the check of one that somebody brings.

The self-signed certificate is an end entity and its own issuer at once, so that OpenSSL and GnuTLS clients verify the
server with this very file as their CA: basic constraints say CA, key usage allows both signatures, the subject
alternative names hold the host name, ``localhost`` and the loopback addresses. RFC 5280 §4.2.1, RFC 6125 §6.4.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from postoffice.base.errors import InputError, PostOfficeError

SELF_SIGNED_DAYS = 3650
_LOOPBACK = (ip_address("127.0.0.1"), ip_address("::1"))
_MAX_COMMON_NAME = 64                   # RFC 5280, upper bound of a common name


@dataclass(frozen=True, slots=True)
class KeyPair:
    """PEM of a certificate (with its chain) and of its private key."""

    certificate: bytes
    key: bytes


def build_self_signed(host_name: str, now_seconds: float) -> KeyPair:
    """A new EC P-256 key with a certificate for the host name, localhost and the loopback addresses."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host_name[:_MAX_COMMON_NAME])])
    start = datetime.datetime.fromtimestamp(now_seconds, datetime.UTC) - datetime.timedelta(hours=1)
    names: list[x509.GeneralName] = [x509.DNSName(one) for one in dict.fromkeys((host_name, "localhost"))]
    names += [x509.IPAddress(address) for address in _LOOPBACK]
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    certificate = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start).not_valid_after(start + datetime.timedelta(days=SELF_SIGNED_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.KeyUsage(
            digital_signature=True, key_cert_sign=True, content_commitment=False, key_encipherment=False,
            data_encipherment=False, key_agreement=False, crl_sign=False, encipher_only=False, decipher_only=False,
        ), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(identifier, critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
        .sign(key, hashes.SHA256())
    )
    return KeyPair(
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))


def covers_host(certificate: bytes, host_name: str) -> bool:
    """Whether a PEM certificate names this host."""
    loaded = x509.load_pem_x509_certificate(certificate)
    try:
        names = loaded.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return False
    wanted = host_name.lower()
    found = [name.lower() for name in names.get_values_for_type(x509.DNSName)]
    return wanted in found or "*." + wanted.partition(".")[2] in found


def is_self_signed(certificate: bytes) -> bool:
    """Whether its issuer is itself (as ours are)."""
    loaded = x509.load_pem_x509_certificate(certificate)
    return loaded.issuer == loaded.subject


def check_certificate(certificate: bytes, key: bytes, now_seconds: float, *, field: str = "certificate") -> None:
    """Whether certificate and key can serve TLS. Raises InputError naming ``field`` or "key", in one sentence."""
    try:
        loaded = x509.load_pem_x509_certificate(certificate)
    except ValueError:
        raise InputError(field, "this is no certificate in PEM form.",
                         "The file begins with -----BEGIN CERTIFICATE-----.") from None
    try:
        private = serialization.load_pem_private_key(key, password=None)
    except TypeError:
        raise InputError("key", "the private key is encrypted, and the server cannot ask for its password.",
                         "Store it unencrypted: openssl pkey -in KEY -out NEW") from None
    except ValueError:
        raise InputError("key", "this is no private key in PEM form.",
                         "The file begins with -----BEGIN PRIVATE KEY-----.") from None
    if _public_bytes(private.public_key()) != _public_bytes(loaded.public_key()):
        raise InputError("key", "the private key does not belong to the certificate.",
                         "Name the key with which the certificate was requested.")
    if loaded.not_valid_after_utc.timestamp() < now_seconds:
        raise InputError(field, f"the certificate expired on {loaded.not_valid_after_utc:%Y-%m-%d}.",
                         "Name a certificate that is valid.")


def split_pem(text: bytes) -> tuple[bytes, bytes]:
    """A file that may hold both: its certificates and its private key (b"" when there is none)."""
    begin = text.find(b"-----BEGIN ")
    certificates, key = [], b""
    while begin >= 0:
        end = text.find(b"-----END ", begin)
        end = text.find(b"\n", end) + 1 if end >= 0 else 0
        end = end or len(text)
        block = text[begin:end].rstrip(b"\r\n") + b"\n"
        if b"PRIVATE KEY-----" in block.split(b"\n", 1)[0]:
            key = block
        elif block.startswith(b"-----BEGIN CERTIFICATE"):
            certificates.append(block)
        begin = text.find(b"-----BEGIN ", end)
    return b"".join(certificates), key


def _public_bytes(key: object) -> bytes:
    try:
        data: bytes = key.public_bytes(            # type: ignore[attr-defined]   # every kind of public key has it
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    except AttributeError:
        raise PostOfficeError("This kind of key cannot be used for TLS.", "Use an RSA or EC key.") from None
    return data
