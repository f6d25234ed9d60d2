"""The kinds of values a setting can have. Each reads text, writes it back (parse(format(x)) == x) and says in words
what is allowed. Pure: names of hosts and files are not looked up here."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from pathlib import Path

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address

_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)", re.I)
_SIZE = re.compile(r"([0-9]+)\s*([KMGT]?)(?:i?B)?", re.I)
_SIZE_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_TIME = re.compile(r"([0-9]+)\s*([smhdw]?)", re.I)
_TIME_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_MAX_NUMBER = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class YesNo:
    """The original's words for a boolean."""

    name: str = "yes or no"

    def parse(self, text: str) -> bool:
        word = text.strip().lower()
        if word not in ("yes", "no"):
            raise ValueError("allowed are yes and no")
        return word == "yes"

    def format(self, value: bool) -> str:
        return "yes" if value else "no"


@dataclass(frozen=True, slots=True)
class OnlyNo:
    """A switch of the original whose feature this server does not have: it can only be off."""

    name: str = "no"

    def parse(self, text: str) -> bool:
        if text.strip().lower() != "no":
            raise ValueError("only no is allowed: this server does not have the feature")
        return False

    def format(self, value: bool) -> str:
        return "no"


@dataclass(frozen=True, slots=True)
class Int:
    """A whole number from ``least`` to ``most``; ``unit`` is for the reader."""

    least: int = 0
    most: int = 1_000_000_000
    unit: str = ""

    @property
    def name(self) -> str:
        return f"number{' of ' + self.unit if self.unit else ''}, {self.least} to {self.most}"

    def parse(self, text: str) -> int:
        if not re.fullmatch(r"\s*[0-9]{1,19}\s*", text) or not self.least <= int(text) <= self.most:
            raise ValueError(f"allowed is a {self.name}")
        return int(text)

    def format(self, value: int) -> str:
        return str(value)


@dataclass(frozen=True, slots=True)
class Scaled:
    """A number that may be written with a unit behind it: a time or a size. The value is in the smallest unit."""

    noun: str
    pattern: re.Pattern[str]
    units: Mapping[str, int]
    hint: str
    least: int = 0
    most: int = _MAX_NUMBER

    @property
    def name(self) -> str:
        upper = "" if self.most == _MAX_NUMBER else f" to {self.most}"
        return f"{self.noun}, from {self.least}{upper} ({self.hint})"

    def parse(self, text: str) -> int:
        match = self.pattern.fullmatch(text.strip())
        value = int(match[1]) * self.units[match[2].lower()] if match and len(match[1]) < 20 else -1
        if not self.least <= value <= self.most:
            raise ValueError(f"allowed are {self.name}")
        return value

    def format(self, value: int) -> str:
        return str(value)


def Seconds(least: int = 0, most: int = 10 * 365 * 86400) -> Scaled:
    """A time; may be written with s, m, h, d or w behind the number."""
    return Scaled("seconds", _TIME, _TIME_UNITS, "or with m, h, d, w behind the number", least, most)


def Bytes(least: int = 0, most: int = _MAX_NUMBER) -> Scaled:
    """A size; may be written with K, M, G or T behind the number (powers of 1,024)."""
    return Scaled("bytes", _SIZE, _SIZE_UNITS, "or with K, M, G, T behind the number", least, most)


@dataclass(frozen=True, slots=True)
class Text:
    """One line of text, at most ``most`` characters."""

    most: int = 1000
    name: str = "text on one line"

    def parse(self, text: str) -> str:
        if len(text) > self.most or any(ord(char) < 32 or ord(char) == 127 for char in text):
            raise ValueError(f"allowed is {self.name}, at most {self.most} characters")
        return text

    def format(self, value: str) -> str:
        return value


@dataclass(frozen=True, slots=True)
class Choice:
    """One of some words."""

    words: tuple[str, ...]

    @property
    def name(self) -> str:
        return " or ".join(self.words)

    def parse(self, text: str) -> str:
        word = text.strip().lower()
        if word not in self.words:
            raise ValueError(f"allowed are {', '.join(self.words)}")
        return word

    def format(self, value: str) -> str:
        return value


@dataclass(frozen=True, slots=True)
class Regex:
    """A regular expression; the value is the compiled one."""

    name: str = "regular expression"

    def parse(self, text: str) -> re.Pattern[str]:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")         # Python's thoughts about its future are not the caller's
                return re.compile(text)
        except (re.error, OverflowError, RecursionError) as error:
            raise ValueError(f"allowed is a regular expression; this one does not compile: {error}") from None

    def format(self, value: re.Pattern[str]) -> str:
        return value.pattern


@dataclass(frozen=True, slots=True, order=True)
class Port:
    """A port to listen on; ``address`` None means the addresses of Dispatch/Config/ListenAddresses."""

    address: Address | None
    port: int

    def __str__(self) -> str:
        if self.address is None:
            return str(self.port)
        return f"[{self.address}]:{self.port}" if self.address.version == 6 else f"{self.address}:{self.port}"


@dataclass(frozen=True, slots=True)
class Ports:
    """Ports separated by blanks, each ``[address:]port``; 0 or nothing: the service is off."""

    name: str = "ports separated by blanks, each [address:]port; 0: off"

    def parse(self, text: str) -> tuple[Port, ...]:
        ports = [self._parse_one(word) for word in text.split()]
        if ports == [Port(None, 0)]:
            return ()
        if any(not port.port for port in ports):
            raise ValueError("a port is a number from 1 to 65535; 0 alone switches the service off")
        if len(set(ports)) < len(ports):
            raise ValueError("the same port stands there twice")
        return tuple(ports)

    def format(self, value: tuple[Port, ...]) -> str:
        return " ".join(map(str, value)) or "0"

    def _parse_one(self, word: str) -> Port:
        host, _colon, number = word.rpartition(":")
        if not re.fullmatch(r"[0-9]{1,5}", number) or int(number) > 65535:
            raise ValueError(f"{word!r} is no port: allowed are {self.name}")
        if not host:
            if word.startswith(":"):
                raise ValueError(f"{word!r} has no address before the colon")
            return Port(None, int(number))
        if ":" in host and not (host.startswith("[") and host.endswith("]")):
            raise ValueError(f"{word!r}: an IPv6 address stands in brackets, [::1]:25")
        try:
            return Port(ip_address(host.strip("[]")), int(number))
        except ValueError:
            raise ValueError(f"{word!r}: {host} is no IP address") from None


@dataclass(frozen=True, slots=True)
class Addresses:
    """IP addresses of this machine, separated by blanks; nothing: all."""

    name: str = "IP addresses separated by blanks; empty: all"

    def parse(self, text: str) -> tuple[Address, ...]:
        try:
            return tuple(dict.fromkeys(ip_address(word.strip("[]")) for word in text.split()))
        except ValueError:
            raise ValueError(f"allowed are {self.name}") from None

    def format(self, value: tuple[Address, ...]) -> str:
        return " ".join(map(str, value))


@dataclass(frozen=True, slots=True)
class Networks:
    """Networks separated by blanks: CIDR or single addresses, IPv4 and IPv6.

    ``zero_is_wildcard``: as in the original's relay list a bare 192.0.2.0 means 192.0.2.0/24, and 10.0.0.0 means
    10.0.0.0/8."""

    zero_is_wildcard: bool = False
    name: str = "networks separated by blanks: 192.0.2.0/24, 2001:db8::/32 or single addresses"

    def parse(self, text: str) -> tuple[Network, ...]:
        networks = []
        for word in text.replace(",", " ").split():
            try:
                networks.append(_parse_network(_spell_out_zeros(word) if self.zero_is_wildcard else word))
            except ValueError:
                raise ValueError(f"{word!r} is no network: allowed are {self.name}") from None
        return tuple(dict.fromkeys(networks))

    def format(self, value: tuple[Network, ...]) -> str:
        return " ".join(str(n.network_address) if n.prefixlen == n.max_prefixlen else str(n) for n in value)


@dataclass(frozen=True, slots=True)
class Domain:
    """A domain name, stored in lower case as A-label; empty where ``may_be_empty``. The original's registry wrote its
    default domain with a dot before it: ``may_begin_with_dot`` passes over that."""

    may_be_empty: bool = False
    may_begin_with_dot: bool = False
    name: str = "domain name"

    def parse(self, text: str) -> str:
        word = text.strip()
        if self.may_begin_with_dot:
            word = word.removeprefix(".")
        if not word and self.may_be_empty:
            return ""
        return parse_domain(word)

    def format(self, value: str) -> str:
        return value


@dataclass(frozen=True, slots=True)
class Domains:
    """Domain names separated by blanks."""

    name: str = "domain names separated by blanks"

    def parse(self, text: str) -> tuple[str, ...]:
        return tuple(dict.fromkeys(parse_domain(word) for word in text.replace(",", " ").split()))

    def format(self, value: tuple[str, ...]) -> str:
        return " ".join(value)


@dataclass(frozen=True, slots=True)
class DomainsOrNetworks:
    """Networks, addresses, and domains (of reverse names), separated by blanks."""

    name: str = "networks, addresses or domain names separated by blanks"

    def parse(self, text: str) -> tuple[Network | str, ...]:
        found: list[Network | str] = []
        for word in text.replace(",", " ").split():
            try:
                found.append(_parse_network(word))
            except ValueError:
                found.append(parse_domain(word.lstrip(".")))
        return tuple(dict.fromkeys(found))

    def format(self, value: tuple[Network | str, ...]) -> str:
        return " ".join(one if isinstance(one, str) else Networks().format((one,)) for one in value)


@dataclass(frozen=True, slots=True)
class FilePath:
    """An absolute path, or nothing (None)."""

    name: str = "absolute path"

    def parse(self, text: str) -> Path | None:
        word = text.strip()
        if not word:
            return None
        if not word.startswith("/") or any(ord(char) < 32 or ord(char) == 127 for char in word):
            raise ValueError("allowed is an absolute path, such as /var/spool/post.office")
        return Path(word)

    def format(self, value: Path | None) -> str:
        return str(value) if value is not None else ""


@dataclass(frozen=True, slots=True)
class FilePaths:
    """Absolute paths, one after the other, separated by ``;``."""

    name: str = "absolute paths separated by ;"

    def parse(self, text: str) -> tuple[Path, ...]:
        paths = [FilePath().parse(word) for word in text.split(";")]
        return tuple(dict.fromkeys(path for path in paths if path is not None))

    def format(self, value: tuple[Path, ...]) -> str:
        return ";".join(map(str, value))


def parse_domain(text: str) -> str:
    """A domain name in lower case as A-label (IDNA 2008). Raises ValueError with a sentence."""
    word = text.strip().rstrip(".")
    if not word.isascii():
        import idna

        try:
            word = idna.encode(word, uts46=True).decode("ascii")
        except idna.IDNAError as error:
            raise ValueError(f"{text!r} is no domain name: {error}") from None
    if len(word) > 253 or not word or not all(_LABEL.fullmatch(label) for label in word.split(".")):
        raise ValueError(f"{text!r} is no domain name: labels of letters, digits and hyphens between dots are allowed")
    if word.rpartition(".")[2].isdigit():           # RFC 1123 §2.1: what ends in a number is an IP address
        raise ValueError(f"{text!r} is no domain name: the last label is a number, as in an IP address")
    return word.lower()


def _parse_network(word: str) -> Network:
    """Raises ValueError. Clients that come as IPv4-mapped IPv6 are IPv4 to us, so such networks are, too."""
    if "%" in word:
        raise ValueError("a network has no interface")
    network = ip_network(word.strip("[]"), strict=False)
    mapped = network.network_address.ipv4_mapped if isinstance(network, IPv6Network) else None
    if mapped is not None and network.prefixlen >= 96:
        return IPv4Network((mapped, network.prefixlen - 96))
    return network


def _spell_out_zeros(word: str) -> str:
    """A bare IPv4 address that ends in zeros with the length they stand for; 0.0.0.0 would open everything and must be
    written 0.0.0.0/0."""
    if not re.fullmatch(r"\d+(\.\d+){3}", word, re.ASCII) or not word.endswith(".0") or word == "0.0.0.0":
        return word
    octets = word.split(".")
    while octets[-1] == "0":
        octets.pop()
    return f"{word}/{8 * len(octets)}"


YES_NO = YesNo()
ONLY_NO = OnlyNo()
PORTS = Ports()
ADDRESSES = Addresses()
NETWORKS = Networks()
DOMAIN = Domain()
DOMAINS = Domains()
DOMAINS_OR_NETWORKS = DomainsOrNetworks()
REGEX = Regex()
TEXT = Text()
PATH = FilePath()
PATHS = FilePaths()
