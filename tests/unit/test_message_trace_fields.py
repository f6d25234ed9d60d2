"""Received, Return-Path and Delivered-To: their exact form, and that nothing from outside breaks it."""

from __future__ import annotations

import msgspec
import pytest

from postoffice.message.address import Address
from postoffice.message.structured import parse_message
from postoffice.message.trace_fields import (
    Arrived,
    build_prefix,
    build_received,
    clean_hello,
    count_received,
    format_compatible_product,
    name_protocol,
    strip_return_path,
)

ARRIVED = Arrived("client.example.test", "192.0.2.7", "mail.example.test", "ESMTPSA", "01JDEXAMPLE00",
                  Address("user", "example.test"), 1795480867, 540)


def test_received() -> None:
    assert build_received(ARRIVED) == (
        b"Received: from client.example.test ([192.0.2.7]) by mail.example.test\r\n"
        b"          (Post.Office)\r\n"
        b"          with ESMTPSA id 01JDEXAMPLE00 for <user@example.test>;\r\n"
        b"          Tue, 24 Nov 2026 09:41:07 +0900\r\n"
    )


def test_received_without_recipient_and_client() -> None:
    hidden = build_received(msgspec.structs.replace(ARRIVED, client_address=None, recipient=None))
    assert hidden.startswith(b"Received: by mail.example.test\r\n")
    assert b"192.0.2.7" not in hidden
    assert b"client" not in hidden
    assert b" for " not in hidden


def test_compatible_form() -> None:
    product = format_compatible_product("3.5.3", "223", "0-68491U100L2S100V35")
    assert b"\r\n          (Post.Office MTA v3.5.3 release 223 ID# 0-68491U100L2S100V35)\r\n" in build_received(ARRIVED, product)


@pytest.mark.parametrize(
    ("flags", "word"),
    [
        ({"extended": False, "secure": True}, "SMTP"),
        ({"extended": True}, "ESMTP"),
        ({"extended": True, "secure": True}, "ESMTPS"),
        ({"extended": True, "authenticated": True}, "ESMTPA"),
        ({"extended": True, "secure": True, "authenticated": True}, "ESMTPSA"),
        ({"extended": True, "secure": True, "utf8": True}, "UTF8SMTPS"),
    ],
)
def test_protocol_words(flags: dict[str, bool], word: str) -> None:
    assert name_protocol(**flags) == word


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("[192.0.2.1]", "[192.0.2.1]"), ("[IPv6:2001:db8::1]", "[IPv6:2001:db8::1]"), ("a_b.test", "a_b.test"),
        ("evil\r\nX-Header: yes", "evil?X-Header:?yes"), ("a (b) ; c", "a?b?c"), ("", "unknown"), ("\x00", "?"),
        ("例え.テスト", "例え.テスト"),
    ],
)
def test_hostile_hello(name: str, shown: str) -> None:
    assert clean_hello(name) == shown
    field = build_received(msgspec.structs.replace(ARRIVED, hello=name))
    assert field.count(b"\r\n") == 4
    assert parse_message(field + b"\r\n").received_count == 1


def test_long_values_stay_within_a_line() -> None:
    field = build_received(msgspec.structs.replace(
        ARRIVED, hello="h" * 10_000, recipient=Address("a" * 64, "b" * 255), host="c" * 255))
    assert max(map(len, field.split(b"\r\n"))) <= 998


def test_prefix() -> None:
    assert build_prefix(None) == b"Return-Path: <>\r\n"
    assert build_prefix(Address("a b", "x.test"), Address("c", "d.test")) == (
        b'Return-Path: <"a b"@x.test>\r\nDelivered-To: c@d.test\r\n')


@pytest.mark.parametrize(
    ("data", "stripped"),
    [
        (b"Return-Path: <a@b>\r\nA: 1\r\n\r\nx", b"A: 1\r\n\r\nx"),
        (b"A: 1\r\nRETURN-PATH : <a@b>\r\n c\r\n\td\r\nB: 2\r\n\r\nx", b"A: 1\r\nB: 2\r\n\r\nx"),
        (b"return-path: x\r\nA: 1\r\nReturn-Path: y\r\n\r\nReturn-Path: body", b"A: 1\r\n\r\nReturn-Path: body"),
        (b"Return-Path: x\r\n\r\nbody", b"\r\nbody"),
        (b"Return-Path: x\r\n", b""),
        (b"A: Return-Path: x\r\n\r\nx", b"A: Return-Path: x\r\n\r\nx"),
        (b"\r\nReturn-Path: x\r\n", b"\r\nReturn-Path: x\r\n"),
        (b"X-Return-Path: x\r\n\r\n", b"X-Return-Path: x\r\n\r\n"),
        (b"", b""),
    ],
)
def test_strip_return_path(data: bytes, stripped: bytes) -> None:
    assert strip_return_path(data) == stripped


def test_strip_leaves_the_object_alone_when_there_is_nothing() -> None:
    data = b"A: 1\r\n\r\nReturn-Path: body\r\n"
    assert strip_return_path(data) is data


def test_count_received() -> None:
    assert count_received(b"Received: a\r\nRECEIVED: b\r\n c\r\nX: received:\r\nreceived :c\r\n\r\nReceived: d\r\n") == 3
    assert count_received(b"") == 0
