"""Server-side TLS contexts: which certificates are loaded, which one a client gets, what is offered at all.

Owns: reading certificate and key files, the choice by SNI, the rules for versions. A certificate that
cannot be loaded is reported and not offered; with none left there is no context, and no STARTTLS or STLS
announced.

Each service has contexts, and so ticket keys, of its own: a session ticket got from one service means
nothing to another. RFC 8446, RFC 6066 §3, RFC 7817.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509

from postoffice.tls.link import ServerTls

log = logging.getLogger(__name__)

_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
_REASONS = (                                # what OpenSSL says, and what it means
    ("KEY_VALUES_MISMATCH", "the private key does not belong to it"),
    ("PEM lib", "the private key cannot be read"),
    ("EE_KEY_TOO_SMALL", "the key is too small"),
)


@dataclass(frozen=True, slots=True)
class TlsChoice:
    """What the settings say. ``certificates``: PEM files, the first is the default; relative to the spool.
    The key lies in the same file or beside it, named alike with the suffix ``.key``. ``minimum_version``:
    "1.2", "1.3"."""

    certificates: tuple[Path, ...]
    minimum_version: str = "1.2"


@dataclass(frozen=True, slots=True)
class _Certificate:
    """One that loads: its files and the names it is for, lower case."""

    file: Path
    key: Path
    names: tuple[str, ...]


class Contexts:
    """The contexts of the present files and settings. ``unusable(file, reason)`` hears of each certificate
    that does not load, at every `reload`."""

    def __init__(
        self, current: Callable[[], TlsChoice], spool: Path,
        unusable: Callable[[Path, str], None] | None = None,
    ) -> None:
        self._current = current
        self._spool = spool
        self._unusable = unusable
        self._choice: TlsChoice | None = None
        self._certificates: list[_Certificate] = []
        self._by_service: dict[str, ssl.SSLContext] = {}

    def get_server_context(self, service: str = "") -> ssl.SSLContext | None:
        """The context new connections of a service use, or None when no certificate can be loaded.

        Cheap: files are read at the first call, after `reload` and when the choice has changed."""
        if self._current() != self._choice:
            self.reload()
        if not self._certificates:
            return None
        context = self._by_service.get(service)
        if context is None:
            context = self._by_service[service] = self._build()
        return context

    def reload(self) -> None:
        """Read the files anew (signal HUP, a renewed certificate). Connections keep what they have."""
        choice = self._choice = self._current()
        self._by_service = {}
        self._certificates = []
        for file in choice.certificates:
            path = self._spool / file
            try:
                self._certificates.append(load_certificate(path))
            except (OSError, ValueError) as error:      # ssl.SSLError is an OSError
                reason = _explain(error)
                log.warning("The certificate %s cannot be used: %s", path, reason)
                if self._unusable is not None:
                    self._unusable(path, reason)

    def _build(self) -> ssl.SSLContext:
        assert self._choice is not None
        minimum = _VERSIONS.get(self._choice.minimum_version, ssl.TLSVersion.TLSv1_2)
        default, *others = [(one, build_context(one.file, one.key, minimum)) for one in self._certificates]
        exact: dict[str, ssl.SSLContext] = {}
        for certificate, context in (default, *others):
            for name in certificate.names:
                exact.setdefault(name, context)

        def choose(tls: ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> None:
            """RFC 6066 §3: an unknown name is no reason to fail; the default certificate answers."""
            if name:
                name = name.lower().rstrip(".")
                tls.sni = name      # type: ignore[attr-defined]
                chosen = exact.get(name) or exact.get("*." + name.partition(".")[2])
                if chosen is not None and chosen is not default[1]:
                    tls.context = chosen

        default[1].set_servername_callback(choose)      # type: ignore[arg-type]   # typeshed knows sockets only
        return default[1]


def load_certificate(file: Path) -> _Certificate:
    """Read a certificate with its key. Raises OSError (ssl.SSLError among them) or ValueError."""
    beside = file.with_suffix(".key")
    text = file.read_bytes()
    try:
        certificate = x509.load_pem_x509_certificate(text)
    except ValueError as error:
        raise ValueError("it is no PEM certificate") from error
    key = file if b"PRIVATE KEY-----" in text else beside
    if not key.exists():
        raise ValueError(f"its private key is neither in the file nor in {beside.name}")
    build_context(file, key, ssl.TLSVersion.TLSv1_2)
    return _Certificate(file, key, _get_names(certificate))


def build_context(file: Path, key: Path, minimum: ssl.TLSVersion) -> ssl.SSLContext:
    """A server context with one certificate. Raises OSError (ssl.SSLError among them)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = minimum
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.options |= ssl.OP_SINGLE_ECDH_USE | ssl.OP_SINGLE_DH_USE
    context.sslobject_class = ServerTls
    # A password would be asked on the terminal: an encrypted key is an unusable one.
    context.load_cert_chain(file, key, password=_refuse_encrypted)
    return context


def _refuse_encrypted() -> str:
    raise ValueError("the private key is encrypted")


def _get_names(certificate: x509.Certificate) -> tuple[str, ...]:
    """The DNS names of a certificate (RFC 6125 §6.4: the common name only where there are none)."""
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        names: list[str] = extension.value.get_values_for_type(x509.DNSName)
    except x509.ExtensionNotFound:
        common = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
        names = [str(one.value) for one in common]
    return tuple(name.lower() for name in names)


def _explain(error: OSError | ValueError) -> str:
    if isinstance(error, ssl.SSLError):
        reason = error.reason or str(error)
        return next((text for part, text in _REASONS if part in reason), reason.replace("_", " ").lower())
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return str(error)
