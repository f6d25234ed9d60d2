"""What an account may be: the checks every way of making or changing one goes through.

Each returns the value as it is stored and raises InputError with a sentence for the person who gave it. What other
accounts have already is found when the change is written.
"""

from __future__ import annotations

import re
import unicodedata

from postoffice.base.errors import InputError
from postoffice.config.kinds import DOMAINS_OR_NETWORKS, Bytes
from postoffice.directory.resolve import RESERVED_BY_LOCAL, Territory
from postoffice.message.address import format_domain_key, parse_address

MAX_NAME = 200
# docomo gave these out until 2009: mail to them elsewhere is fine, new ones of our own are not (RFC 5321 §4.1.2).
_ODD_DOTS = re.compile(r"\.\.|\.\Z")


def check_name(text: str) -> str:
    """A real name."""
    name = text.strip()
    if not name:
        raise InputError("name", "The account needs a name.")
    if len(name) > MAX_NAME or any(unicodedata.category(char) in {"Cc", "Cs", "Zl", "Zp"} for char in name):
        raise InputError("name", f"A name is one line of at most {MAX_NAME} characters.")
    return name


def check_address(text: str, territory: Territory, *, held: frozenset[tuple[str, str]] = frozenset()) -> str:
    """An address for an account. ``held``: keys of addresses it has already, which are not judged again."""
    text = text.strip()
    try:
        address = parse_address(text, utf8=True)
    except ValueError as error:
        raise InputError("address", f"{text} is no mail address: {error}.") from None
    if address.key in held:
        return str(address)
    if not address.domain:
        raise InputError("address", f"{text} has no domain.", "Write it as name@domain.")
    if format_domain_key(address.domain) not in territory.domains:
        raise InputError("address", f"{address.domain} is not a local mail domain.",
                         f"Add it with: postoffice domain add {address.domain}")
    if _ODD_DOTS.search(address.local):
        raise InputError("address", f"{text}: new addresses cannot have two dots in a row or a dot before the @.")
    return str(address)


def is_reserved(text: str) -> bool:
    """Whether the local part of an address belongs to a reserved account."""
    return parse_address(text, utf8=True).key[0] in RESERVED_BY_LOCAL


def check_limit(text: str) -> int | None:
    """A mailbox limit in bytes (K, M, G understood); 0 or "unlimited": none; "default" or nothing: the default key."""
    word = text.strip().lower()
    if word in {"", "default"}:
        return None
    if word == "unlimited":
        return 0
    try:
        return Bytes().parse(word)
    except ValueError as error:
        raise InputError("limit", f"{text} is no mailbox limit: {error}; or unlimited, or default.") from None


def check_access(text: str) -> tuple[str, ...]:
    """From where the account's mail may be read: networks, addresses and domains; nothing: from everywhere."""
    try:
        return tuple(DOMAINS_OR_NETWORKS.format((rule,)) for rule in DOMAINS_OR_NETWORKS.parse(text))
    except ValueError as error:
        raise InputError("access", f"{error}.") from None
