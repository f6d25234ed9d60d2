"""PLAIN (RFC 4616): ``[authzid] NUL authcid NUL password`` in one message."""

from __future__ import annotations

from postoffice.base.errors import UsageError
from postoffice.sasl.mechanism import Challenge, CheckPassword, Malformed, Step, decode_text

MAX_OCTETS = 4096


class Plain:
    """One exchange. An authzid other than the authcid is refused: nobody acts for somebody else."""

    name = "PLAIN"

    def take(self, data: bytes | None) -> Step:
        if data is None:
            return Challenge(b"")
        parts = data.split(b"\0")
        if len(parts) != 3 or len(data) > MAX_OCTETS:
            return Malformed("PLAIN wants two NUL and at most 4096 octets")
        try:
            identity, login, password = (decode_text(part) for part in parts)
        except ValueError:
            return Malformed("not UTF-8")
        if not login or not password:
            return Malformed("empty name or password")
        if identity and identity != login:
            return Malformed("authzid differs from authcid")
        return CheckPassword(login, password)

    def supply(self, salt: bytes, iterations: int, stored_key: bytes, server_key: bytes) -> Step:
        raise UsageError("PLAIN asks for nothing")
