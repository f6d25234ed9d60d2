"""LOGIN: name and password in two messages. Never standardised; old mail programs know nothing else."""

from __future__ import annotations

from postoffice.base.errors import UsageError
from postoffice.sasl.mechanism import Challenge, CheckPassword, Malformed, Step, decode_text

MAX_OCTETS = 4096


class Login:
    """One exchange. An initial response is the name."""

    name = "LOGIN"

    def __init__(self) -> None:
        self._login: str | None = None

    def take(self, data: bytes | None) -> Step:
        if data is None:
            return Challenge(b"Username:")
        if len(data) > MAX_OCTETS:
            return Malformed("too long")
        try:
            text = decode_text(data)
        except ValueError:
            return Malformed("not UTF-8")
        if not text:
            return Malformed("empty name or password")
        if self._login is None:
            self._login = text
            return Challenge(b"Password:")
        return CheckPassword(self._login, text)

    def supply(self, salt: bytes, iterations: int, stored_key: bytes, server_key: bytes) -> Step:
        raise UsageError("LOGIN asks for nothing")
