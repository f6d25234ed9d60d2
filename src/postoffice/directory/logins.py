"""POP3 login names: what they may hold and how they compare.

Every login (POP3, SMTP AUTH, later IMAP and web) takes this name or any of the account's addresses. Because a name
holds no ``@`` and an address always does, the two can never be mistaken for each other.
"""

from __future__ import annotations

import re
import unicodedata

from postoffice.base.errors import InputError

# Post.Office's list. Any length from one is allowed.
FORBIDDEN = frozenset('"()%@|~[]{}=')
_USUAL = re.compile(r"[A-Za-z0-9._+-]+\Z")


def check_login(login: str) -> str:
    """``login`` itself. Raises InputError naming the first offending character."""
    if not login:
        raise InputError("login", "A POP3 login name has at least one character.")
    for char in login:
        if char in FORBIDDEN:
            raise InputError("login", f"The POP3 login name may not hold the character {char}")
        if char.isspace() or unicodedata.category(char) in {"Zs", "Zl", "Zp"}:
            raise InputError("login", f"The POP3 login name may not hold a blank (U+{ord(char):04X}).")
        if unicodedata.category(char) in {"Cc", "Cf", "Cs", "Cn"}:
            raise InputError("login", f"The POP3 login name may not hold the control character U+{ord(char):04X}.")
    return login


def is_login(text: str) -> bool:
    """Whether ``text`` may be a login name."""
    if _USUAL.match(text):
        return True
    try:
        check_login(text)
    except InputError:
        return False
    return True


def get_login_key(login: str) -> str:
    """What equal logins share: lower case, in composed form (a Mac sends decomposed text)."""
    if login.isascii():
        return login.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", login).lower())
