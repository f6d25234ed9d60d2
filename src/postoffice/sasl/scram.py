"""SCRAM-SHA-256 (RFC 5802, RFC 7677), the server's side, without channel binding.

The password never crosses the wire and is not stored. An unknown name must be served with a stable fake verifier by
whoever supplies it: until the last step nothing tells it from a real one.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import stringprep
import unicodedata

from postoffice.base.errors import UsageError
from postoffice.sasl.mechanism import Challenge, Malformed, NeedVerifier, Proved, Step

MAX_OCTETS = 4096

_PROHIBITED = (
    stringprep.in_table_c12, stringprep.in_table_c21_c22, stringprep.in_table_c3, stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6, stringprep.in_table_c7, stringprep.in_table_c8, stringprep.in_table_c9,
)


def prepare(text: str) -> str:
    """SASLprep (RFC 4013). A text it prohibits is used in composed form instead: what could be set must work."""
    mapped = "".join(" " if stringprep.in_table_c12(c) else c for c in text if not stringprep.in_table_b1(c))
    prepared = unicodedata.normalize("NFKC", mapped)
    if any(check(char) for char in prepared for check in _PROHIBITED):
        return unicodedata.normalize("NFC", text)
    return prepared


def make_scram_verifier(password: str, salt: bytes, iterations: int) -> tuple[bytes, bytes]:
    """StoredKey and ServerKey (RFC 5802 §3). Takes tens of milliseconds at 100,000 iterations."""
    salted = hashlib.pbkdf2_hmac("sha256", prepare(password).encode("utf-8", "surrogatepass"), salt, iterations)
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    return hashlib.sha256(client_key).digest(), hmac.digest(salted, b"Server Key", "sha256")


class ScramSha256:
    """One exchange. ``nonce`` is the server's part: 18 or more random octets as printable text without comma."""

    name = "SCRAM-SHA-256"

    def __init__(self, nonce: str) -> None:
        self._nonce = nonce
        self._login: str | None = None
        self._header = b""                  # the GS2 header as the client sent it
        self._client_first = ""             # client-first-message-bare
        self._server_first = ""
        self._keys: tuple[bytes, bytes] | None = None
        self._whole_nonce = ""

    def take(self, data: bytes | None) -> Step:
        if data is None:
            return Challenge(b"")
        if len(data) > MAX_OCTETS:
            return Malformed("too long")
        try:
            return self._take_first(data) if self._login is None else self._take_final(data)
        except (ValueError, binascii.Error) as error:
            return Malformed(str(error) or "bad message")

    def supply(self, salt: bytes, iterations: int, stored_key: bytes, server_key: bytes) -> Step:
        if self._login is None or self._keys is not None:
            raise UsageError("no verifier is asked for")
        self._keys = stored_key, server_key
        self._server_first = f"r={self._whole_nonce},s={base64.b64encode(salt).decode()},i={iterations}"
        return Challenge(self._server_first.encode())

    def _take_first(self, data: bytes) -> Step:
        text = data.decode("utf-8")
        flag, comma, rest = text.partition(",")
        if flag.startswith("p="):
            raise ValueError("channel binding is not offered")
        if flag not in ("n", "y") or not comma:
            raise ValueError("bad GS2 header")
        identity, comma, bare = rest.partition(",")
        if not comma or (identity and not identity.startswith("a=")):
            raise ValueError("bad GS2 header")
        fields = bare.split(",")
        if fields[0].startswith("m="):
            raise ValueError("mandatory extensions are not supported")     # RFC 5802 §5.1
        if len(fields) < 2 or not fields[0].startswith("n=") or not fields[1].startswith("r="):
            raise ValueError("name and nonce are wanted")
        login = _decode_name(fields[0][2:])
        if identity and _decode_name(identity[2:]) != login:
            raise ValueError("authzid differs from authcid")
        nonce = fields[1][2:]
        if not nonce or not nonce.isascii() or not nonce.isprintable():
            raise ValueError("bad nonce")
        self._header = data[: len(data) - len(bare.encode())]
        self._client_first = bare
        self._login = login
        self._whole_nonce = nonce + self._nonce
        return NeedVerifier(login)

    def _take_final(self, data: bytes) -> Step:
        if self._keys is None:
            raise UsageError("the verifier has not been supplied")
        assert self._login is not None
        text = data.decode("utf-8")
        without_proof, _comma, proof = text.rpartition(",p=")
        fields = without_proof.split(",")
        if len(fields) < 2 or not fields[0].startswith("c=") or not fields[1].startswith("r="):
            raise ValueError("channel data, nonce and proof are wanted")
        if _decode_base64(fields[0][2:]) != self._header:
            raise ValueError("the channel data differ from the first message")
        if not hmac.compare_digest(fields[1][2:].encode(), self._whole_nonce.encode()):
            raise ValueError("the nonce is not the one of this exchange")
        stored_key, server_key = self._keys
        signed = f"{self._client_first},{self._server_first},{without_proof}".encode()
        signature = hmac.digest(stored_key, signed, "sha256")
        given = _decode_base64(proof)
        if len(given) != len(signature):
            raise ValueError("bad proof")
        client_key = bytes(a ^ b for a, b in zip(given, signature, strict=True))
        ok = hmac.compare_digest(hashlib.sha256(client_key).digest(), stored_key)
        final = b"v=" + base64.b64encode(hmac.digest(server_key, signed, "sha256"))
        return Proved(self._login, ok, final)


def _decode_name(text: str) -> str:
    """A saslname: ``=2C`` is a comma, ``=3D`` an equals sign, any other ``=`` an error (RFC 5802 §5.1)."""
    parts = text.split("=")
    for part in parts[1:]:
        if not part.startswith(("2C", "3D")):
            raise ValueError("bad name")
    name = text.replace("=2C", ",").replace("=3D", "=")
    if not name or "\0" in name:
        raise ValueError("bad name")
    return name


def _decode_base64(text: str) -> bytes:
    # The strict mode of Python 3.11 lets one = too many pass.
    if len(text) % 4:
        raise ValueError("base64 comes in fours")
    return binascii.a2b_base64(text.encode("ascii"), strict_mode=True)
