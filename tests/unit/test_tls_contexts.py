"""Which certificate a client gets, what is not offered, and that tickets stay with their service."""

from __future__ import annotations

import ssl
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from postoffice.testing.certificates import write_certificate
from postoffice.tls.contexts import Contexts, TlsChoice


def shake_hands(
    server: ssl.SSLContext, *, name: str = "localhost", version: ssl.TLSVersion | None = None,
    session: ssl.SSLSession | None = None, client: ssl.SSLContext | None = None,
) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """Client and server in memory; returns both ends after a byte each way."""
    if client is None:
        client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    if version is not None:
        client.minimum_version = client.maximum_version = version
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    here = client.wrap_bio(to_client, to_server, server_hostname=name, session=session)
    there = server.wrap_bio(to_server, to_client, server_side=True)
    waiting = {here, there}
    for _ in range(10):
        for end in tuple(waiting):
            try:
                end.do_handshake()
                waiting.discard(end)
            except ssl.SSLWantReadError:
                pass
    assert not waiting
    there.write(b"x")
    assert here.read(1) == b"x"         # tickets of TLS 1.3 come with it
    return here, there


def subject(end: ssl.SSLObject) -> set[str]:
    from cryptography import x509
    der = end.getpeercert(binary_form=True)
    assert der is not None
    found = x509.load_der_x509_certificate(der).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return set(found.value.get_values_for_type(x509.DNSName))


def build(tmp_path: Path, *files: str, version: str = "1.2") -> tuple[Contexts, list[tuple[str, str]]]:
    troubles: list[tuple[str, str]] = []
    choice = TlsChoice(tuple(map(Path, files)), version)
    return Contexts(lambda: choice, tmp_path, lambda file, reason: troubles.append((file.name, reason))), troubles


def test_sni_chooses(tmp_path: Path) -> None:
    write_certificate(tmp_path / "a.pem", ["a.example.test"])
    write_certificate(tmp_path / "b.pem", ["b.example.test", "*.b.example.test"], key_file=tmp_path / "b.key")
    contexts, troubles = build(tmp_path, "a.pem", "b.pem")
    context = contexts.get_server_context("smtp")
    assert context is not None and troubles == []
    for name, first in (("a.example.test", "a.example.test"), ("b.example.test", "b.example.test"),
                        ("X.B.Example.Test", "b.example.test"), ("unknown.test", "a.example.test"),
                        ("x.y.b.example.test", "a.example.test"), ("192.0.2.1", "a.example.test")):
        here, there = shake_hands(context, name=name)
        assert first in subject(here), name
    assert getattr(there, "sni", "") is None, "an address is no name (RFC 6066 §3)"
    assert contexts.get_server_context("smtp") is context


def test_versions(tmp_path: Path) -> None:
    write_certificate(tmp_path / "a.pem", ["localhost"])
    context = build(tmp_path, "a.pem")[0].get_server_context()
    assert context is not None and context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert shake_hands(context, version=ssl.TLSVersion.TLSv1_2)[0].version() == "TLSv1.2"
    strict = build(tmp_path, "a.pem", version="1.3")[0].get_server_context()
    assert strict is not None
    with pytest.raises(ssl.SSLError):
        shake_hands(strict, version=ssl.TLSVersion.TLSv1_2)


def test_what_cannot_be_loaded_is_said_and_not_offered(tmp_path: Path) -> None:
    write_certificate(tmp_path / "good.pem", ["localhost"])
    write_certificate(tmp_path / "other.pem", ["localhost"], key_file=tmp_path / "other.key")
    write_certificate(tmp_path / "mismatch.pem", ["localhost"], key_file=tmp_path / "unused.key")
    (tmp_path / "other.key").rename(tmp_path / "mismatch.key")
    (tmp_path / "rubbish.pem").write_text("no certificate")
    key = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"word"))
    write_certificate(tmp_path / "locked.pem", ["localhost"], key_file=tmp_path / "locked.key")
    (tmp_path / "locked.key").write_bytes(key)
    write_certificate(tmp_path / "keyless.pem", ["localhost"], key_file=tmp_path / "keyless.key")
    (tmp_path / "keyless.key").write_text("no key")
    contexts, troubles = build(tmp_path, "missing.pem", "rubbish.pem", "mismatch.pem", "other.pem", "locked.pem",
                               "keyless.pem", "good.pem")
    context = contexts.get_server_context()
    assert context is not None
    shake_hands(context)
    assert dict(troubles) == {
        "missing.pem": "No such file or directory",
        "rubbish.pem": "it is no PEM certificate",
        "mismatch.pem": "the private key does not belong to it",
        "other.pem": "its private key is neither in the file nor in other.key",
        "keyless.pem": "the private key cannot be read",
        "locked.pem": "the private key is encrypted",
    }
    assert build(tmp_path, "missing.pem")[0].get_server_context() is None
    assert build(tmp_path)[0].get_server_context() is None


def test_reload_takes_new_files(tmp_path: Path) -> None:
    write_certificate(tmp_path / "a.pem", ["old.example.test"])
    contexts, troubles = build(tmp_path, "a.pem")
    old = contexts.get_server_context()
    write_certificate(tmp_path / "a.pem", ["new.example.test"])
    assert contexts.get_server_context() is old
    contexts.reload()
    new = contexts.get_server_context()
    assert new is not None and "new.example.test" in subject(shake_hands(new)[0])
    (tmp_path / "a.pem").unlink()
    contexts.reload()
    assert contexts.get_server_context() is None and len(troubles) == 1


def test_a_changed_choice_needs_no_reload(tmp_path: Path) -> None:
    write_certificate(tmp_path / "a.pem", ["localhost"])
    choice = [TlsChoice(())]
    contexts = Contexts(lambda: choice[0], tmp_path)
    assert contexts.get_server_context() is None
    choice[0] = replace(choice[0], certificates=(Path("a.pem"),))
    assert contexts.get_server_context() is not None
