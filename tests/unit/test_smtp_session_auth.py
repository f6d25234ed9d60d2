"""Signing in by SMTP, submission, TLS, and the right that ends."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import ssl
from collections.abc import Awaitable, Callable

import pytest

from postoffice.policy.api import SignInFailure
from postoffice.testing.signin import build_verifier
from postoffice.testing.smtp_rig import Client, SmtpRig
from postoffice.testing.streams import TLS

TARO = "taro@example.test"


def run(test: Callable[[SmtpRig], Awaitable[None]], **settings: str) -> SmtpRig:
    rigs: list[SmtpRig] = []

    async def main() -> None:
        rigs.append(SmtpRig(settings))
        rigs[0].context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        await test(rigs[0])

    asyncio.run(main())
    return rigs[0]


def encode(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def plain(login: str, password: str, identity: str = "") -> str:
    return encode(f"{identity}\0{login}\0{password}")


async def sign_in(client: Client, login: str = "taro", password: str = "taro-secret") -> str:
    await client.ehlo()
    return await client.say(f"AUTH PLAIN {plain(login, password)}")


def test_submission_does_nothing_for_strangers() -> None:
    async def test(rig: SmtpRig) -> None:
        client = rig.connect(submission=True)
        await client.ehlo()
        for line in (f"MAIL FROM:<{TARO}>", f"RCPT TO:<{TARO}>", "DATA", "VRFY taro"):
            assert (await client.say(line)).startswith("530 5.7.0 "), line
        for line, code in (("NOOP", "250"), ("RSET", "250"), ("HELP", "214"), ("QUIT", "221")):
            assert (await client.say(line)).startswith(code), line

    run(test, AllowVRFY="yes", AllowEXPN="yes")


def test_submission_of_a_user() -> None:
    async def test(rig: SmtpRig) -> None:
        client = rig.connect(submission=True, tls=TLS)
        assert (await sign_in(client)).startswith("235 2.7.0 ")
        assert (await client.send("hanako@example.test", sender=TARO)).startswith("250 ")
        (copy,) = rig.read(3)
        assert b"with ESMTPSA id" in copy and b"([192.0.2.7])" in copy
        assert rig.signin.tried == [("taro", "192.0.2.7", "smtp")]
        # A sender that is somebody else's, and a recipient elsewhere.
        assert (await client.say("MAIL FROM:<hanako@example.test>")).startswith("553 5.7.1 ")
        assert (await client.begin("x@example.org", sender=TARO))[1].startswith("550 5.7.1 ")

    rig = run(test)
    ((summary, _),) = rig.trace.messages
    assert summary.login == "taro"


def test_a_hidden_client() -> None:
    async def test(rig: SmtpRig) -> None:
        client = rig.connect(submission=True, tls=TLS)
        await sign_in(client)
        await client.send("hanako@example.test", sender=TARO)
        assert b"192.0.2.7" not in rig.read(3)[0]
        # Whoever has not signed in is not hidden.
        other = rig.connect()
        await other.ehlo()
        await other.send(TARO)
        assert b"192.0.2.7" in rig.read(2)[0]

    run(test, HideClientAddress="yes")


def test_login_mechanism() -> None:
    async def test(rig: SmtpRig) -> None:
        client = rig.connect(submission=True)
        await client.ehlo()
        assert await client.say("AUTH LOGIN") == f"334 {encode('Username:')}\r\n"
        assert await client.say(encode("taro")) == f"334 {encode('Password:')}\r\n"
        assert (await client.say(encode("taro-secret"))).startswith("235 ")

    run(test)


@pytest.mark.parametrize(("password", "code"), [("taro-secret", "235 2.7.0 "), ("other", "535 5.7.8 ")])
def test_scram(password: str, code: str) -> None:
    async def test(rig: SmtpRig) -> None:
        client = rig.connect(submission=True)
        await client.ehlo()
        first = "n=taro,r=clientnonce"
        answer = await client.say(f"AUTH SCRAM-SHA-256 {encode('n,,' + first)}")
        server_first = base64.b64decode(answer.split()[1]).decode()
        nonce = dict(part.split("=", 1) for part in server_first.split(","))["r"]
        verifier = build_verifier("taro-secret")
        without_proof = f"c={encode('n,,')},r={nonce}"
        message = f"{first},{server_first},{without_proof}".encode()
        salted = hashlib.pbkdf2_hmac("sha256", password.encode(), verifier.salt, verifier.iterations)
        client_key = hmac.digest(salted, b"Client Key", "sha256")
        signature = hmac.digest(hashlib.sha256(client_key).digest(), message, "sha256")
        proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
        answer = await client.say(encode(f"{without_proof},p={base64.b64encode(proof).decode()}"))
        if code.startswith("235"):
            expected = hmac.digest(verifier.server_key, message, "sha256")
            assert base64.b64decode(answer.split()[1]) == b"v=" + base64.b64encode(expected)
            answer = await client.say("")
        assert answer.startswith(code), answer

    run(test)


@pytest.mark.parametrize(("failure", "code"), [
    (SignInFailure.WRONG, "535 5.7.8 "), (SignInFailure.BANNED, "535 5.7.8 "), (SignInFailure.BUSY, "454 4.7.0 "),
    (SignInFailure.ACCESS, "535 5.7.8 ")])
def test_failures(failure: SignInFailure, code: str) -> None:
    async def test(rig: SmtpRig) -> None:
        rig.signin.failure = failure
        client = rig.connect(submission=True)
        assert (await sign_in(client)).startswith(code)
        assert (await client.say(f"MAIL FROM:<{TARO}>")).startswith("530 ")
        rig.signin.failure = None
        assert (await client.say(f"AUTH PLAIN {plain('taro', 'taro-secret')}")).startswith("235 ")

    run(test)


def test_a_ban_looks_like_a_wrong_password() -> None:
    async def test(rig: SmtpRig) -> None:
        replies = []
        for failure in (SignInFailure.WRONG, SignInFailure.BANNED):
            rig.signin.failure = failure
            replies.append((await sign_in(rig.connect(submission=True))).split(" (id ")[0])
        assert replies[0] == replies[1]

    run(test)


def test_a_bug_in_the_sign_in_is_temporary(caplog: pytest.LogCaptureFixture) -> None:
    async def test(rig: SmtpRig) -> None:
        rig.signin.error = RuntimeError("secret detail")
        answer = await sign_in(rig.connect(submission=True))
        assert answer.startswith("451 4.3.0 ") and "secret" not in answer

    run(test)
    assert "secret detail" in caplog.text


def test_no_login_in_clear_unless_allowed() -> None:
    async def test(rig: SmtpRig) -> None:
        rig.signin.clear_allowed = False
        client = rig.connect(submission=True)
        greeting = await client.ehlo()
        assert "AUTH" not in greeting and "STARTTLS" in greeting
        assert (await client.say(f"AUTH PLAIN {plain('taro', 'taro-secret')}")).startswith("538 5.7.11 ")
        assert rig.signin.tried == []
        secure = rig.connect(submission=True, tls=TLS)
        greeting = await secure.ehlo()
        assert "AUTH SCRAM-SHA-256 PLAIN LOGIN" in greeting and "STARTTLS" not in greeting

    run(test)


def test_do_auth_off() -> None:
    async def test(rig: SmtpRig) -> None:
        client = rig.connect(submission=True, tls=TLS)
        assert "AUTH" not in await client.ehlo()
        assert (await client.say(f"AUTH PLAIN {plain('taro', 'taro-secret')}")).startswith("502 ")
        assert (await client.say(f"MAIL FROM:<{TARO}>")).startswith("530 ")

    run(test, DoAUTH="no")


def test_starttls_forgets_everything() -> None:
    async def test(rig: SmtpRig) -> None:
        client = rig.connect(submission=True)
        await sign_in(client)
        await client.begin("hanako@example.test", sender=TARO)
        assert (await client.say("STARTTLS")).startswith("220 2.0.0 ")
        assert client.wire.starting is rig.context
        client.wire.secure()
        assert client.take() == ""          # no second greeting
        assert (await client.say("RCPT TO:<hanako@example.test>")).startswith(("503 ", "530 "))
        assert (await client.say(f"MAIL FROM:<{TARO}>")).startswith(("503 ", "530 "))
        assert "STARTTLS" not in await client.ehlo()
        assert (await client.say(f"MAIL FROM:<{TARO}>")).startswith("530 ")
        assert (await sign_in(client)).startswith("235 ")
        assert (await client.send("hanako@example.test", sender=TARO)).startswith("250 ")
        assert b"with ESMTPSA id" in rig.read(3)[0]

    run(test)


def test_starttls_is_offered_only_with_a_certificate_and_by_its_key() -> None:
    async def test(rig: SmtpRig) -> None:
        assert "STARTTLS" in await rig.connect().ehlo()
        rig.change({"AllowSTARTTLS": "no"})
        client = rig.connect()
        assert "STARTTLS" not in await client.ehlo()
        assert (await client.say("STARTTLS")).startswith("502 ")
        rig.change({"AllowSTARTTLS": "yes"})
        assert "STARTTLS" in await client.ehlo()
        rig.context = None
        assert (await client.say("STARTTLS")).startswith("454 4.7.0 ")
        assert "STARTTLS" not in await client.ehlo()

    run(test)


def test_a_right_that_ends_ends_the_session() -> None:
    async def test(rig: SmtpRig) -> None:
        client = rig.connect(submission=True, tls=TLS)
        await sign_in(client)
        client.session.recheck()
        assert not client.closed
        rig.signin.revoked.add(2)
        client.session.recheck()
        assert client.take().startswith("421 4.7.0 ") and client.closed

    run(test)


def test_a_right_that_ends_is_noticed_at_mail_without_a_notice() -> None:
    async def test(rig: SmtpRig) -> None:
        client = rig.connect(submission=True, tls=TLS)
        await sign_in(client)
        rig.signin.revoked.add(2)
        assert (await client.say(f"MAIL FROM:<{TARO}>")).startswith("421 4.7.0 ") and client.closed

    run(test)


def test_a_message_in_the_commit_is_answered_before_the_right_ends_the_session() -> None:
    async def test(rig: SmtpRig) -> None:
        client = rig.connect(submission=True, tls=TLS)
        await sign_in(client)
        rig.store.hold()
        await client.send("hanako@example.test", sender=TARO)
        rig.signin.revoked.add(2)
        client.session.recheck()
        assert not client.closed
        rig.store.release()
        answer = await client.wait()
        assert [line[:3] for line in answer.splitlines()] == ["250", "421"] and client.closed

    run(test)


def test_a_connection_lost_during_a_sign_in() -> None:
    async def test(rig: SmtpRig) -> None:
        client = rig.connect(submission=True)
        rig.signin.gate = asyncio.Event()
        await sign_in(client)
        client.wire.lose()
        rig.signin.gate.set()
        assert await client.wait() == ""

    run(test)
