"""SCRAM-SHA-256 (RFC 5802, RFC 7677): the exchange of the standard, and attack E65."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest

from postoffice.base.errors import UsageError
from postoffice.sasl.mechanism import Challenge, Malformed, NeedVerifier, Proved, Step
from postoffice.sasl.scram import ScramSha256, make_scram_verifier, prepare

# RFC 7677 §3.
SALT, ITERATIONS = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ=="), 4096
KEYS = make_scram_verifier("pencil", SALT, ITERATIONS)
CLIENT_NONCE, SERVER_NONCE = "rOprNGfwEbeRWgbNEkqO", "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
NONCE = CLIENT_NONCE + SERVER_NONCE
FIRST = f"n,,n=user,r={CLIENT_NONCE}".encode()
SERVER_FIRST = f"r={NONCE},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096".encode()
FINAL = f"c=biws,r={NONCE},p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=".encode()
SERVER_FINAL = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


def begin(first: bytes = FIRST, *, nonce: str = SERVER_NONCE) -> ScramSha256:
    """An exchange that waits for the client's final message."""
    scram = ScramSha256(nonce)
    assert isinstance(scram.take(first), NeedVerifier)
    assert isinstance(scram.supply(SALT, ITERATIONS, *KEYS), Challenge)
    return scram


def prove(first: bytes, without_proof: str, *, password: str = "pencil", nonce: str = SERVER_NONCE) -> Step:
    """What the server says to a client that computes its proof over whatever it sends."""
    scram = ScramSha256(nonce)
    step = scram.take(first)
    assert isinstance(step, NeedVerifier)
    challenge = scram.supply(SALT, ITERATIONS, *KEYS)
    assert isinstance(challenge, Challenge)
    bare = first.decode().split(",", 2)[2]
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), SALT, ITERATIONS)
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    signed = f"{bare},{challenge.data.decode()},{without_proof}".encode()
    signature = hmac.digest(hashlib.sha256(client_key).digest(), signed, "sha256")
    proof = base64.b64encode(bytes(a ^ b for a, b in zip(client_key, signature, strict=True))).decode()
    return scram.take(f"{without_proof},p={proof}".encode())


def test_the_exchange_of_the_standard() -> None:
    scram = ScramSha256(SERVER_NONCE)
    assert scram.take(FIRST) == NeedVerifier("user")
    assert scram.supply(SALT, ITERATIONS, *KEYS) == Challenge(SERVER_FIRST)
    assert scram.take(FINAL) == Proved("user", True, SERVER_FINAL)


def test_without_an_initial_response() -> None:
    scram = ScramSha256(SERVER_NONCE)
    assert scram.take(None) == Challenge(b"")
    assert scram.take(FIRST) == NeedVerifier("user")


def test_a_wrong_password_is_not_proved() -> None:
    step = prove(FIRST, f"c=biws,r={NONCE}", password="crayon")
    assert isinstance(step, Proved) and not step.ok and step.login == "user"


@pytest.mark.parametrize("at", range(0, 32, 5))
def test_a_tampered_proof_is_not_proved(at: int) -> None:
    head, _p, proof = FINAL.rpartition(b",p=")
    raw = bytearray(base64.b64decode(proof))
    raw[at] ^= 1
    step = begin().take(head + b",p=" + base64.b64encode(raw))
    assert isinstance(step, Proved) and not step.ok


@pytest.mark.parametrize("proof", [b"", b"=", FINAL.rpartition(b",p=")[2] + b"=", FINAL.rpartition(b",p=")[2][:-1], b"AA==", b"!!!!", base64.b64encode(b"x" * 31), base64.b64encode(b"x" * 33)])
def test_what_is_no_proof(proof: bytes) -> None:
    assert isinstance(begin().take(FINAL.rpartition(b",p=")[0] + b",p=" + proof), Malformed)


def test_e65_a_message_heard_before_is_worth_nothing() -> None:
    """The client's nonce may come again, the server's does not."""
    assert isinstance(begin(nonce="another18characters").take(FINAL), Malformed)
    # Also when the eavesdropper puts the new nonce in: the proof was made over the old one.
    step = begin(nonce="another18characters").take(FINAL.replace(SERVER_NONCE.encode(), b"another18characters"))
    assert isinstance(step, Proved) and not step.ok


@pytest.mark.parametrize("nonce", ["", CLIENT_NONCE, NONCE + "x", NONCE[:-1], SERVER_NONCE, NONCE.upper(), NONCE + "é"])
def test_e65_the_nonce_must_be_the_one_of_the_exchange(nonce: str) -> None:
    assert isinstance(prove(FIRST, f"c=biws,r={nonce}"), Malformed)


def test_e65_extension_fields() -> None:
    # Optional ones are read over and signed with the rest; a mandatory one ends the exchange (RFC 5802 §5.1).
    first = FIRST + b",x=anything"
    step = prove(first, f"c=biws,r={NONCE},y=1,z=2")
    assert isinstance(step, Proved) and step.ok
    assert isinstance(ScramSha256(SERVER_NONCE).take(b"n,,m=1,n=user,r=abc"), Malformed)
    # A client cannot talk the server into another iteration count or salt.
    scram = ScramSha256(SERVER_NONCE)
    scram.take(FIRST + b",i=1,s=AAAA")
    assert scram.supply(SALT, ITERATIONS, *KEYS) == Challenge(SERVER_FIRST)


def test_e65_channel_binding_flags() -> None:
    # "y": the client could, and believes that we cannot: true. "p": it wants what is not offered.
    step = prove(b"y,,n=user,r=" + CLIENT_NONCE.encode(), f"c=eSws,r={NONCE}")
    assert isinstance(step, Proved) and step.ok
    assert isinstance(ScramSha256(SERVER_NONCE).take(b"p=tls-unique,,n=user,r=abc"), Malformed)
    # What the final message says of the flag must be what the first one said: no downgrade on the way.
    for first, channel in ((FIRST, "eSws"), (b"y,,n=user,r=" + CLIENT_NONCE.encode(), "biws"), (FIRST, ""), (FIRST, "!"), (FIRST, "biwsAAAA")):
        assert isinstance(prove(first, f"c={channel},r={NONCE}"), Malformed)


def test_an_identity_only_when_it_is_the_login() -> None:
    header = base64.b64encode(b"n,a=user,").decode()
    step = prove(b"n,a=user,n=user,r=" + CLIENT_NONCE.encode(), f"c={header},r={NONCE}")
    assert isinstance(step, Proved) and step.ok
    assert isinstance(ScramSha256(SERVER_NONCE).take(b"n,a=boss,n=user,r=abc"), Malformed)


def test_names_are_unescaped() -> None:
    assert ScramSha256("x").take(b"n,,n=a=2Cb=3Dc,r=abc") == NeedVerifier("a,b=c")
    assert ScramSha256("x").take("n,,n=太郎,r=abc".encode()) == NeedVerifier("太郎")
    for name in (b"a=b", b"a=2c", b"a=", b"", b"a\0b", b"\xff"):
        assert isinstance(ScramSha256("x").take(b"n,,n=" + name + b",r=abc"), Malformed), name


@pytest.mark.parametrize("first", [
    b"", b"n", b"n,", b"n,,", b"n,,n=user", b"n,,r=abc,n=user", b"n,,n=user,r=", b"n,,n=user,r=\x7f", "n,,n=user,r=é".encode(),
    b"x,,n=user,r=abc", b"n,b=user,n=user,r=abc", b"n=user,r=abc", b",,n=user,r=abc", b"n,,n=user,r=abc" + b"x" * 5000,
])
def test_first_messages_that_are_none(first: bytes) -> None:
    assert isinstance(ScramSha256("x").take(first), Malformed)


@pytest.mark.parametrize("final", [b"", b"c=biws", b"p=AAAA", b"r=" + NONCE.encode() + b",c=biws,p=AAAA", b"\xff", b"x" * 5000,
                                   b"c=biws,r=" + NONCE.encode()])
def test_final_messages_that_are_none(final: bytes) -> None:
    assert isinstance(begin().take(final), Malformed)


def test_the_order_of_calls() -> None:
    with pytest.raises(UsageError):
        ScramSha256("x").supply(SALT, ITERATIONS, *KEYS)
    scram = begin()
    with pytest.raises(UsageError):
        scram.supply(SALT, ITERATIONS, *KEYS)


def test_passwords_are_prepared() -> None:
    # RFC 4013 §3, and what it prohibits: such a password could be set, so it must work.
    assert prepare("I\u00adX") == "IX" and prepare("\u00aa") == "a" and prepare("\u2168") == "IX" and prepare("USER") == "USER"
    assert prepare("a\u00a0b") == "a b"
    assert prepare("tab\there") == "tab\there"
    assert make_scram_verifier("\u2168", SALT, 1) == make_scram_verifier("IX", SALT, 1)
    assert make_scram_verifier("ix", SALT, 1) != make_scram_verifier("IX", SALT, 1)
