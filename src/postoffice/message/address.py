"""Mail addresses as values (RFC 5321 §4.1.2, RFC 6531), with the tolerance Japanese carriers need.

Owns the parsed form, its text and comparison; what exists is the directory's business, header fields are
`message.fields`'. Invariants: ``parse_address(str(a), utf8=True) == a`` for every address parsed here; no
address holds a control character, so none can end a line; errors are sentences fit for an SMTP reply and
repeat no input.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address

import idna
import msgspec

# RFC 5321 §4.5.3.1.1 and §4.5.3.1.2, in octets; RFC 1035 §2.3.4 for one label.
MAX_LOCAL = 64
MAX_DOMAIN = 255
MAX_LABEL = 63

_ATOM = r"A-Za-z0-9!#$%&'*+/=?^_`{|}~-"
# The form nearly every command has; everything else goes the careful way.
_COMMON_PATH = re.compile(rf"<([{_ATOM}][.{_ATOM}]{{0,63}})@([A-Za-z0-9._-]{{1,255}})>".encode())
_PLAIN_LOCAL = re.compile(rf"[\u0080-\U0010ffff{_ATOM}][.\u0080-\U0010ffff{_ATOM}]*\Z")

_ROUTE = re.compile(rb"@[^\x00-\x20\x7f\"(),:;<>@\\]+(?:,@[^\x00-\x20\x7f\"(),:;<>@\\]+)*:")
_DOT_STRING = re.compile(rb"[^\x00-\x20\x7f\"(),:;<>@\[\\\]]+")
_QUOTED = re.compile(rb'"((?:[^\x00-\x1f\x7f"\\]|\\[\x20-\x7e])*)"')
_QUOTED_PAIR = re.compile(rb"\\([\x20-\x7e])")
_LITERAL = re.compile(rb"\[[^\x00-\x20\x7f\[\]\\]*\]")
_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?\Z")
_IPV6_TAG = "ipv6:"


class Address(msgspec.Struct, frozen=True):
    """A parsed address. ``local`` is unquoted and as written; ``domain`` as written ("" for a bare name such
    as ``postmaster``; ``[192.0.2.1]`` or ``[IPv6:...]`` for a literal)."""

    local: str
    domain: str

    def __str__(self) -> str:
        """As it may stand between < and >: the local part quoted where the grammar wants it."""
        local = self.local
        if not _PLAIN_LOCAL.match(local):
            local = '"' + local.replace("\\", "\\\\").replace('"', '\\"') + '"'
        return f"{local}@{self.domain}" if self.domain else local

    @property
    def key(self) -> tuple[str, str]:
        """What addresses of one local mailbox share, in lower case: local part NFC, domain A-label."""
        return _key(self.local, self.domain)


def parse_address(text: str, *, utf8: bool = False) -> Address:
    """Parse ``local@domain`` or a bare local part. Accepts ``..`` and ``.@`` (docomo before 2009). Raises
    ValueError with a sentence that says what is wrong."""
    data = text.encode("utf-8", "surrogatepass")
    address, end = _parse_mailbox(data, 0, utf8)
    if end != len(data):
        raise ValueError("the address goes on after its end")
    return address


def parse_path(text: bytes, *, utf8: bool = False) -> tuple[Address | None, bytes]:
    """Parse an SMTP path ``<...>`` at the start of ``text`` (source routes are read and dropped, RFC 5321
    appendix C); ``<>`` gives None. Returns the address and the rest. Raises ValueError."""
    match = _COMMON_PATH.match(text)
    if match is not None:
        local, domain = match.groups()
        return Address(local.decode("ascii"), _parse_common_domain(domain)), text[match.end():]
    return _parse_path_carefully(text, utf8)


def format_domain_key(domain: str) -> str:
    """How domains compare: lower-case A-labels, a literal with its address in canonical form."""
    return _key("", domain)[1]


def _parse_path_carefully(text: bytes, utf8: bool) -> tuple[Address | None, bytes]:
    if not text.startswith(b"<"):
        raise ValueError("an address must stand between < and >")
    if text.startswith(b"<>"):
        return None, text[2:]
    start = 1
    if text.startswith(b"<@"):
        # RFC 5321 appendix C: a source route is accepted and ignored.
        route = _ROUTE.match(text, 1)
        if route is None:
            raise ValueError("the source route is malformed")
        start = route.end()
    address, end = _parse_mailbox(text, start, utf8)
    if text[end:end + 1] != b">":
        raise ValueError("the address does not end with >")
    return address, text[end + 1:]


def _parse_mailbox(data: bytes, start: int, utf8: bool) -> tuple[Address, int]:
    """The address at ``start`` and the offset after it."""
    local, end = _parse_local(data, start, utf8)
    if data[end:end + 1] != b"@":
        return Address(local, ""), end
    start = end + 1
    match = _LITERAL.match(data, start)
    if match is not None:
        return Address(local, _check_literal(_decode(match[0], utf8))), match.end()
    match = _DOT_STRING.match(data, start)
    if match is None:
        raise ValueError("the domain after @ is missing or malformed")
    if len(match[0]) > MAX_DOMAIN:
        raise ValueError(f"the domain is longer than {MAX_DOMAIN} octets")
    return Address(local, _check_domain(_decode(match[0], utf8))), match.end()


def _parse_local(data: bytes, start: int, utf8: bool) -> tuple[str, int]:
    if data.startswith(b'"', start):
        match = _QUOTED.match(data, start)
        if match is None:
            raise ValueError("the quoted local part is malformed")
        octets = _QUOTED_PAIR.sub(rb"\1", match[1]) if b"\\" in match[1] else match[1]
        if not octets:
            raise ValueError("the local part is empty")
    else:
        match = _DOT_STRING.match(data, start)
        if match is None:
            raise ValueError("the local part is missing or malformed")
        octets = match[0]
        # RFC 5321 §4.1.2 forbids every odd dot; docomo gave out ".." and ".@" until 2009, no leading one.
        if octets.startswith(b"."):
            raise ValueError("the local part begins with a dot")
    if len(octets) > MAX_LOCAL:
        raise ValueError(f"the local part is longer than {MAX_LOCAL} octets")
    return _decode(octets, utf8), match.end()


def _decode(octets: bytes, utf8: bool) -> str:
    if octets.isascii():
        return octets.decode("ascii")
    if not utf8:
        raise ValueError("the address is not ASCII and SMTPUTF8 was not asked for")
    try:
        text = octets.decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError("the address is not valid UTF-8") from None
    for char in text:
        # C1 controls and the Unicode line ends act as CR and LF in some software.
        if char > "~" and (unicodedata.category(char) in {"Cc", "Cs", "Zl", "Zp"}):
            raise ValueError("the address holds a control character")
    return text


@lru_cache(maxsize=4096)
def _parse_common_domain(domain: bytes) -> str:
    return _check_domain(domain.decode("ascii"))


def _check_domain(domain: str) -> str:
    """``domain`` itself. Raises ValueError when it can be no domain name."""
    ascii_form = domain if domain.isascii() else _encode_idna(domain)
    if ascii_form is None:
        raise ValueError("the domain is no valid internationalised name")
    if len(ascii_form) > MAX_DOMAIN:
        raise ValueError(f"the domain is longer than {MAX_DOMAIN} octets")
    for label in ascii_form.split("."):
        if len(label) > MAX_LABEL:
            raise ValueError(f"a label of the domain is longer than {MAX_LABEL} octets")
        if not _LABEL.match(label):
            raise ValueError("the domain has an empty or malformed label")
    return domain


def _check_literal(literal: str) -> str:
    """RFC 5321 §4.1.3; tags other than IPv6 are registered nowhere."""
    if _format_literal_key(literal) is None:
        raise ValueError("the address literal is malformed")
    return literal


def _format_literal_key(literal: str) -> str | None:
    inner = literal[1:-1]
    try:
        if inner[:len(_IPV6_TAG)].lower() == _IPV6_TAG:
            address = inner[len(_IPV6_TAG):]
            return None if "%" in address else f"[ipv6:{IPv6Address(address)}]"
        return f"[{IPv4Address(inner)}]"
    except ValueError:
        return None


def _encode_idna(domain: str) -> str | None:
    """The A-label form: IDNA 2008 with UTS 46 mapping, then IDNA 2003 (emoji names exist under it alone)."""
    try:
        return idna.encode(domain, uts46=True, transitional=False).decode("ascii")
    except (idna.IDNAError, UnicodeError):
        pass
    try:
        return domain.encode("idna").decode("ascii")
    except UnicodeError:
        return None


@lru_cache(maxsize=65536)
def _key(local: str, domain: str) -> tuple[str, str]:
    if local.isascii():
        local = local.lower()
    else:
        # Twice: lower-casing may leave what is not composed (U+0130).
        local = unicodedata.normalize("NFC", unicodedata.normalize("NFC", local).lower())
    if domain.startswith("["):
        return local, _format_literal_key(domain) or domain.lower()
    if not domain.isascii():
        domain = _encode_idna(domain) or unicodedata.normalize("NFC", domain)
    return local, domain.lower().removesuffix(".")
