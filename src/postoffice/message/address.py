"""Mail addresses as values (RFC 5321 §4.1.2, RFC 6531), with the tolerance Japanese carriers need.

Owns the parsed form and comparison; what exists is the directory's business.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Address:
    """A parsed address. ``local`` is unquoted and as written; ``domain`` is as written ("" for a bare name such as
    ``postmaster``; ``[192.0.2.1]`` or ``[IPv6:...]`` for a literal)."""

    local: str
    domain: str

    def __str__(self) -> str:
        """As it may stand between < and >: the local part quoted where the grammar wants it."""
        raise NotImplementedError

    @property
    def key(self) -> tuple[str, str]:
        """What two addresses of one local mailbox share: local part lower-case NFC, domain as lower-case A-label."""
        raise NotImplementedError


def parse_address(text: str, *, utf8: bool = False) -> Address:
    """Parse ``local@domain`` or a bare local part. Accepts ``..`` and ``.@`` (docomo before 2009). Raises ValueError
    with a sentence that says what is wrong."""
    raise NotImplementedError


def parse_path(text: bytes, *, utf8: bool = False) -> tuple[Address | None, bytes]:
    """Parse an SMTP path ``<...>`` at the start of ``text`` (source routes are read and dropped, RFC 5321 app. C);
    ``<>`` gives None. Returns the address and the rest. Raises ValueError."""
    raise NotImplementedError
