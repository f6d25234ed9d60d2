"""Passwords: the rule they obey, and what is stored of them. Nothing recoverable ever is.

An argon2id hash (RFC 9106) for passwords sent under TLS, and beside it a SCRAM-SHA-256 verifier (RFC 5802, RFC 7677)
unless a key turns that off. All functions that hash block for 20 to 100 ms: never on the loop, except in a command.
"""

from __future__ import annotations

import base64
import binascii
import re
import secrets
import unicodedata
from typing import TYPE_CHECKING

from argon2 import PasswordHasher, Type, extract_parameters
from argon2.exceptions import InvalidHashError, VerificationError

from postoffice.base.errors import InputError
from postoffice.directory.model import Credentials, ScramVerifier
from postoffice.sasl.scram import make_scram_verifier
from postoffice.settings.account_manager import PASSWORD, SCRAM_ITERATIONS, STORE_SCRAM

if TYPE_CHECKING:
    from postoffice.config.registry import Snapshot

# OWASP's figures for argon2id: 26 ms and 19 MiB. The library's own default takes 64 MiB for each sign-in under way.
_HASHER = PasswordHasher(time_cost=2, memory_cost=19456, parallelism=1, type=Type.ID)

# A hash from elsewhere must not make a sign-in eat the machine.
_MAX_MEMORY_KIB = 262_144
_MAX_TIME = 16
_MAX_LANES = 16
_PHC = re.compile(r"\$argon2(?:id|i|d)\$v=\d+\$m=\d+,t=\d+,p=\d+\$[A-Za-z0-9+/]+\$[A-Za-z0-9+/]+\Z")
MAX_PASSWORD = 1024                     # characters
MIN_ITERATIONS = 4096                   # RFC 7677 §4, for verifiers brought along
MAX_ITERATIONS = 10_000_000             # a client must compute them, too

# Random octets in the form of a hash, which no known password has: verified against it, an unknown account takes as
# long as a known one.
DUMMY_HASH = ("$argon2id$v=19$m=19456,t=2,p=1$UkqNOQeO/gXQt2hFG75cNA"
              "$h7S+9KQZvQmPMS7tgdm/N3blElvmsbIflcrKnfbHci4")


def check_password(password: str, rule: re.Pattern[str] | str) -> str:
    """``password`` itself when it keeps Account-Manager/Range/Accounts/Password. Raises InputError that never repeats
    it."""
    if any(unicodedata.category(char) in {"Cc", "Cs"} for char in password):
        # A line end or NUL cannot be typed into any mail program and would make the account unreachable.
        raise InputError("password", "The password holds a control character.")
    if len(password) > MAX_PASSWORD:
        raise InputError("password", f"The password is longer than {MAX_PASSWORD} characters.")
    if not re.search(rule, password):
        pattern = rule if isinstance(rule, str) else rule.pattern
        raise InputError("password", f"The password does not keep the rule {pattern} of {PASSWORD.path}.",
                         _explain(pattern))
    return password


def build_credentials(password: str, settings: Snapshot) -> Credentials:
    """Check the rule and make what is stored. Blocks for about 80 ms. Raises InputError."""
    check_password(password, settings[PASSWORD])
    scram = None
    if settings[STORE_SCRAM]:
        salt, iterations = secrets.token_bytes(16), settings[SCRAM_ITERATIONS]
        scram = ScramVerifier(salt, iterations, *make_scram_verifier(password, salt, iterations))
    return Credentials(_HASHER.hash(_prepare(password)), scram)


def verify_password(argon2_hash: str, password: str) -> bool:
    """Whether the password fits. Constant time in its content; blocks for about 26 ms, the interpreter released."""
    try:
        return _HASHER.verify(argon2_hash, _prepare(password))
    except (VerificationError, InvalidHashError):
        return False


def parse_argon2(text: str) -> str:
    """A ready argon2 hash in PHC form, as far as it is safe to verify. Raises InputError."""
    try:
        if not _PHC.match(text):
            raise ValueError
        parameters = extract_parameters(text)
    except (InvalidHashError, ValueError):
        raise InputError("argon2", "This is no argon2 hash ($argon2id$v=19$m=...,t=...,p=...$salt$hash).") from None
    if (parameters.memory_cost > _MAX_MEMORY_KIB or parameters.time_cost > _MAX_TIME
            or parameters.parallelism > _MAX_LANES or parameters.hash_len < 16 or parameters.salt_len < 8):
        raise InputError("argon2", f"The hash is outside what this server computes (m up to {_MAX_MEMORY_KIB}, t up to"
                                   f" {_MAX_TIME}, p up to {_MAX_LANES}, hash of 16 and salt of 8 octets or more).")
    return text


def format_scram(verifier: ScramVerifier) -> str:
    """RFC 5803 §3: ``SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey``."""
    salt, stored, server = (base64.b64encode(part).decode() for part in
                            (verifier.salt, verifier.stored_key, verifier.server_key))
    return f"SCRAM-SHA-256${verifier.iterations}:{salt}${stored}:{server}"


def parse_scram(text: str) -> ScramVerifier:
    """The verifier of its RFC 5803 form. Raises InputError."""
    match = re.fullmatch(r"SCRAM-SHA-256\$(\d{1,9}):([A-Za-z0-9+/=]+)\$([A-Za-z0-9+/=]+):([A-Za-z0-9+/=]+)", text)
    try:
        if match is None:
            raise ValueError
        salt, stored, server = (base64.b64decode(part, validate=True) for part in match.groups()[1:])
    except (ValueError, binascii.Error):
        raise InputError(
            "scram", "This is no SCRAM-SHA-256 verifier (SCRAM-SHA-256$iterations:salt$key:key).") from None
    iterations = int(match[1])
    if not MIN_ITERATIONS <= iterations <= MAX_ITERATIONS or len(stored) != 32 or len(server) != 32 or len(salt) < 8:
        raise InputError("scram", f"The verifier needs {MIN_ITERATIONS} to {MAX_ITERATIONS} iterations, a salt of 8"
                                  " octets or more and keys of 32.")
    return ScramVerifier(salt, iterations, stored, server)


def _prepare(password: str) -> bytes:
    # RFC 8265 §4.2.2: composed form, or a Mac and a PC would send different octets for one password.
    return unicodedata.normalize("NFC", password).encode("utf-8", "surrogatepass")


def _explain(pattern: str) -> str:
    """The usual form of the rule in words."""
    match = re.fullmatch(r"\^\\S\.\{(\d+),\}\\S\$", pattern)
    if match is None:
        return ""
    return f"It needs at least {int(match[1]) + 2} characters, the first and the last not blank."
