"""Answers of a set-up: what is taken, and the sentence for each mistake; certificates; what is in a user's way."""

from __future__ import annotations

import ssl
import time
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from postoffice.base.errors import InputError, PostOfficeError
from postoffice.operations.answers import parse_answers, read_answers
from postoffice.operations.reach import check_directories, find_blocked
from postoffice.settings import dispatch, smtp_accept, smtp_router
from postoffice.tls.certificates import build_self_signed, check_certificate, covers_host, split_pem

NOW = 1_800_000_000.0
MINIMAL: dict[str, Any] = {"hostname": "mail.example.test", "domains": ["example.test"], "postmaster_password": "secret words"}


def test_the_minimum_is_three_answers() -> None:
    answers = parse_answers(MINIMAL)
    assert answers.settings == {dispatch.HOST_NAME: "mail.example.test", smtp_router.LOCAL_MAIL_DOMAINS: "example.test"}
    assert answers.postmaster_password == "secret words"


def test_ports_are_bare_numbers_or_texts() -> None:
    settings = parse_answers(MINIMAL | {"ports": {"smtp": 2525, "submission": "587 127.0.0.1:1587", "smtps": 0}}).settings
    assert settings[smtp_accept.SOCKET] == "2525"
    assert settings[smtp_accept.SUBMISSION_SOCKET] == "587 127.0.0.1:1587"
    assert settings[smtp_accept.SSL_SOCKET] == "0"


@pytest.mark.parametrize(("change", "field"), [
    ({"hostnam": "x"}, "hostnam"), ({"ports": {"smpt": 25}}, "ports.smpt"), ({"nonsense": {"a": 1}}, "nonsense"),
    ({"hostname": ""}, "hostname"), ({"hostname": "192.0.2.1"}, "hostname"), ({"hostname": "mail"}, "hostname"),
    ({"hostname": "ma_ il.example"}, "hostname"), ({"domains": []}, "domains"), ({"domains": "example.test"}, "domains"),
    ({"domains": ["exa mple..test"]}, "domains"), ({"ports": {"smtp": 70000}}, "ports.smtp"), ({"ports": {"smtp": True}}, "ports.smtp"),
    ({"ports": 25}, "ports"), ({"directories": {"spool": "relative"}}, "directories.spool"),
    ({"directories": {"log": "relative"}}, "directories.log"), ({"tls": {"plaintext_login_from": ["nowhere"]}}, "tls.plaintext_login_from"),
    ({"tls": {"certificate": "x.pem"}}, "tls.key"), ({"listen": {"addresses": ["mail"]}}, "listen.addresses"),
    ({"postmaster_password_file": "x"}, "postmaster_password_file"), ({"postmaster_password": None}, "postmaster_password"),
    ({"user": 5}, "user"),
])
def test_a_mistake_names_its_answer(change: dict[str, Any], field: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_answers(MINIMAL | change)
    assert caught.value.field == field


def test_the_password_may_come_from_a_file_beside(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("aus der Datei\n")
    (tmp_path / "answers.toml").write_text('hostname = "a.test"\ndomains = ["a.test"]\npostmaster_password_file = "password"\n')
    assert read_answers(tmp_path / "answers.toml").postmaster_password == "aus der Datei"


@pytest.mark.parametrize("text", ["hostname = ", "\xff"])
def test_a_file_that_is_no_toml_says_so(tmp_path: Path, text: str) -> None:
    (tmp_path / "answers.toml").write_text(text, encoding="latin-1")
    with pytest.raises(InputError, match="not TOML"):
        read_answers(tmp_path / "answers.toml")
    with pytest.raises(InputError, match="cannot be read"):
        read_answers(tmp_path / "missing.toml")


# --- certificates


def test_the_self_signed_certificate_names_host_localhost_and_loopback() -> None:
    pair = build_self_signed("mail.example.test", NOW)
    certificate = x509.load_pem_x509_certificate(pair.certificate)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["mail.example.test", "localhost"]
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "::1"]
    check_certificate(pair.certificate, pair.key, NOW)
    assert covers_host(pair.certificate, "MAIL.example.test") and not covers_host(pair.certificate, "other.test")


@pytest.mark.parametrize("name", ["mail.example.test", "localhost", "127.0.0.1"])
def test_openssl_verifies_it_with_itself_as_authority(tmp_path: Path, name: str) -> None:
    pair = build_self_signed("mail.example.test", time.time())
    (tmp_path / "server.pem").write_bytes(pair.certificate)
    (tmp_path / "server.key").write_bytes(pair.key)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(tmp_path / "server.pem", tmp_path / "server.key")
    client = ssl.create_default_context(cafile=str(tmp_path / "server.pem"))
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [client.wrap_bio(to_client, to_server, server_hostname=name), server.wrap_bio(to_server, to_client, server_side=True)]
    finished: set[int] = set()
    while len(finished) < 2:
        for number, end in enumerate(ends):
            try:
                end.do_handshake()
                finished.add(number)
            except ssl.SSLWantReadError:
                continue


def test_bad_certificates_and_keys_have_clear_sentences() -> None:
    pair, other = build_self_signed("a.test", NOW), build_self_signed("a.test", NOW)
    for certificate, key, sentence in (
        (b"nonsense", pair.key, "no certificate in PEM"), (pair.certificate, b"nonsense", "no private key in PEM"),
        (pair.certificate, other.key, "does not belong"),
    ):
        with pytest.raises(InputError, match=sentence):
            check_certificate(certificate, key, NOW)
    with pytest.raises(InputError, match="expired on"):
        check_certificate(pair.certificate, pair.key, NOW + 11 * 365 * 86400)


def test_a_file_with_both_is_taken_apart() -> None:
    pair = build_self_signed("a.test", NOW)
    assert split_pem(pair.key + b"\r\nsome words\n" + pair.certificate) == (pair.certificate, pair.key)
    assert split_pem(pair.certificate) == (pair.certificate, b"")
    assert split_pem(b"") == (b"", b"")


# --- what is in the way


def test_the_directory_in_the_way_is_named(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    (closed / "inner").mkdir(parents=True)
    tmp_path.chmod(0o755)
    closed.chmod(0o700)
    stranger = 54321
    found = find_blocked(closed / "inner", stranger, stranger)
    assert found is not None and found in (closed, *closed.parents)
    with pytest.raises(PostOfficeError) as caught:
        check_directories(stranger, stranger, [("spool directory", closed / "inner" / "spool")])
    assert str(found) in str(caught.value) and "spool directory" in str(caught.value)


def test_nothing_is_in_the_owners_way(tmp_path: Path) -> None:
    status = tmp_path.stat()
    check_directories(status.st_uid, status.st_gid, [("spool directory", tmp_path / "new" / "spool")])


def test_a_file_where_a_directory_should_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    status = tmp_path.stat()
    with pytest.raises(PostOfficeError, match="not a directory"):
        check_directories(status.st_uid, status.st_gid, [("log directory", tmp_path / "file" / "log")])
