"""Bytes to text for what mail declares: charset labels and their aliases, transfer encodings, and what to do
when the label lies.

Owns the table of labels: only what stands in it reaches a codec, because Python's own look-up imports modules by
the sender's word, remembers every failure, and has codecs that are no charsets. Invariants: nothing raises for
any bytes or label; results hold no lone surrogates, so they can be stored; time is linear. RFC 2045 §6, RFC 2047
§4.
"""

from __future__ import annotations

import binascii
import re
from encodings.aliases import aliases as _python_aliases

from postoffice.message.japanese import decode_bytewise, guess_text, jp_decode

_SPARE = 0xDC00
_STRAY = re.compile("[\udc80-\udcff]")
_SURROGATE = re.compile("[\ud800-\udfff]")

# What senders write -> the family that `japanese` decodes.
_JAPANESE = {
    "iso-2022-jp": "iso-2022-jp", "iso-2022-jp-1": "iso-2022-jp", "iso-2022-jp-2": "iso-2022-jp",
    "iso-2022-jp-3": "iso-2022-jp", "iso-2022-jp-2004": "iso-2022-jp", "iso-2022-jp-ext": "iso-2022-jp",
    "iso-2022-jp-ms": "iso-2022-jp", "csiso2022jp": "iso-2022-jp", "csiso2022jp2": "iso-2022-jp",
    "cp50220": "iso-2022-jp", "cp50221": "iso-2022-jp", "cp50222": "iso-2022-jp", "jis": "iso-2022-jp",
    "jis7": "iso-2022-jp", "x-jis": "iso-2022-jp", "iso2022-jp": "iso-2022-jp", "iso2022jp": "iso-2022-jp",
    "euc-jp": "euc-jp", "x-euc-jp": "euc-jp", "eucjp": "euc-jp", "eucjp-ms": "euc-jp", "eucjp-win": "euc-jp",
    "cp51932": "euc-jp", "x-euc": "euc-jp", "ujis": "euc-jp", "cseucpkdfmtjapanese": "euc-jp",
    "euc-jis-2004": "euc-jp", "euc-jisx0213": "euc-jp",
    "shift-jis": "shift_jis", "shiftjis": "shift_jis", "x-sjis": "shift_jis", "sjis": "shift_jis",
    "sjis-win": "shift_jis", "windows-31j": "shift_jis", "cswindows31j": "shift_jis", "csshiftjis": "shift_jis",
    "ms-kanji": "shift_jis", "ms932": "shift_jis", "cp932": "shift_jis", "cp943": "shift_jis",
    "cp943c": "shift_jis", "x-ms-cp932": "shift_jis", "windows-932": "shift_jis", "shift-jisx0213": "shift_jis",
    "shift-jis-2004": "shift_jis", "x-shift-jis": "shift_jis",
}

# Labels whose senders mean a larger set than they say (WHATWG Encoding §4.2), and names Python does not know.
_CODECS = {
    "ascii": "cp1252", "us-ascii": "cp1252", "iso-8859-1": "cp1252", "latin1": "cp1252", "latin-1": "cp1252",
    "iso8859-1": "cp1252", "l1": "cp1252", "ansi-x3.4-1968": "cp1252", "windows-1252": "cp1252", "x-ansi": "cp1252",
    "utf-8": "utf-8", "utf8": "utf-8", "utf8mb4": "utf-8", "unicode-1-1-utf-8": "utf-8", "utf-8-bom": "utf-8",
    "unicode-1-1-utf-7": "utf-7", "utf-7": "utf-7", "x-unicode-2-0-utf-7": "utf-7",
    "utf-16": "utf-16", "utf-16le": "utf-16-le", "utf-16be": "utf-16-be", "unicode": "utf-16",
    "utf-32": "utf-32", "utf-32le": "utf-32-le", "utf-32be": "utf-32-be",
    "ks-c-5601-1987": "cp949", "ks-c-5601": "cp949", "ksc5601": "cp949", "euc-kr": "cp949", "korean": "cp949",
    "windows-949": "cp949", "x-windows-949": "cp949", "iso-2022-kr": "iso2022_kr",
    "gb2312": "gb18030", "gb-2312-80": "gb18030", "gb2312-80": "gb18030", "gbk": "gb18030", "x-gbk": "gb18030",
    "cp936": "gb18030", "euc-cn": "gb18030", "gb18030": "gb18030", "hz-gb-2312": "hz", "hz": "hz",
    "big5": "cp950", "big5-hkscs": "big5hkscs", "x-x-big5": "cp950", "cp950": "cp950",
    "iso-8859-8-i": "iso8859_8", "iso-8859-8-e": "iso8859_8", "iso-8859-9": "cp1254", "iso-8859-11": "cp874",
    "tis-620": "cp874", "windows-874": "cp874", "macintosh": "mac_roman", "x-mac-roman": "mac_roman",
}
# Among Python's aliases, what is no charset.
_NO_CHARSETS = {
    "base64_codec", "bz2_codec", "hex_codec", "quopri_codec", "rot_13", "uu_codec", "zlib_codec", "mbcs", "tactis",
}
# Python's own names of the Japanese sets; theirs too go to `japanese`.
_FAMILIES = {"iso2022_jp": "iso-2022-jp", "euc_j": "euc-jp", "shift_jis": "shift_jis", "cp932": "shift_jis"}


def _find_family(codec: str) -> str | None:
    return next((family for start, family in _FAMILIES.items() if codec.startswith(start)), None)


_ALIASES = {name.replace("_", "-"): codec for name, codec in _python_aliases.items() if codec not in _NO_CHARSETS}
_JAPANESE = {name: family for name, codec in _ALIASES.items() if (family := _find_family(codec))} | _JAPANESE
_CODECS = (
    {name: codec for name, codec in _ALIASES.items() if not _find_family(codec)}
    | {f"windows-{page}": f"cp{page}" for page in (1250, 1251, *range(1253, 1259))}
    | {f"iso-8859-{part}": f"iso8859_{part}" for part in (2, 3, 4, 5, 6, 7, 8, 10, 13, 14, 15, 16)}
    | {f"cp{page}": f"cp{page}" for page in (437, 850, 866, 1250, 1251, *range(1253, 1259))}
    | {"koi8-r": "koi8_r", "koi8-u": "koi8_u"}
    | _CODECS
)
# These give ASCII bytes another meaning, so that plain ASCII is no short cut: escapes, wide units, EBCDIC.
_SHIFTING = {codec for codec in _CODECS.values() if re.match("utf[-_](7|16|32)", codec)}
_SHIFTING |= {"iso2022_kr", "hz", "cp037", "cp273", "cp424", "cp500", "cp1026", "cp1140"}

_PADDING = re.compile(rb"=+")


def decode_text(data: bytes, label: str) -> tuple[str, bool]:
    """``data`` in the charset ``label`` names ("" or unknown: guessed), and whether the text is a guess."""
    if label in ("utf-8", "UTF-8"):
        if data.isascii():
            return data.decode("ascii"), False
        try:
            return data.decode("utf-8"), False
        except UnicodeDecodeError:
            return _decode_damaged(data, "utf-8"), True
    return _decode_labelled(data, label.lower().replace("_", "-").strip(" \t\"'"))


def is_known_charset(label: str) -> bool:
    """Whether text declared so is decoded and not guessed."""
    name = label.lower().replace("_", "-").strip(" \t\"'")
    return name in _CODECS or name in _JAPANESE


def decode_transfer(data: bytes, encoding: str) -> bytes:
    """A body's bytes without base64 or quoted-printable (lower-case name); damaged input gives what can be read."""
    if encoding == "base64":
        return decode_base64(data)
    if encoding == "quoted-printable":
        return binascii.a2b_qp(data)
    return data


def decode_base64(data: bytes) -> bytes:
    """Every byte that can be read: foreign characters are skipped, padding may lack or stand in the middle."""
    try:
        # One block without inner padding, as nearly always; a "=" in the middle ends what a2b_base64 reads.
        if data.find(b"=", 0, max(0, len(data) - 4)) < 0:
            return binascii.a2b_base64(data)
    except binascii.Error:
        pass
    pieces = []
    for block in _PADDING.split(data):
        digits = block.translate(None, _NOT_BASE64)
        if len(digits) % 4 == 1:
            digits = digits[:-1]
        pieces.append(binascii.a2b_base64(digits + b"=" * (-len(digits) % 4)))
    return b"".join(pieces)


_NOT_BASE64 = bytes(
    code for code in range(256)
    if chr(code) not in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
)


def _decode_labelled(data: bytes, name: str) -> tuple[str, bool]:
    family = _JAPANESE.get(name)
    if family is not None:
        return jp_decode(data, family)
    codec = _CODECS.get(name)
    if codec is None:
        return guess_text(data)
    if codec == "cp1252":
        # What calls itself ASCII or Latin-1 and is not: often raw Japanese from old web forms.
        text, is_guess = guess_text(data) if name in ("ascii", "us-ascii") else (decode_bytewise(data), False)
        return text, is_guess
    if codec not in _SHIFTING and data.isascii():
        return data.decode("ascii"), False
    try:
        text = data.decode(codec)
    except UnicodeError:
        return _decode_damaged(data, codec), True
    return (_SURROGATE.sub("\ufffd", text) if _has_surrogates(text) else text), False


def _decode_damaged(data: bytes, codec: str) -> str:
    """Declared, but not so: something cut in the middle of a character keeps its charset, anything else is guessed."""
    try:
        text = data.decode(codec, "surrogateescape")
    except UnicodeError:
        text = ""
    stray = len(_STRAY.findall(text))
    good = sum(1 for char in text if char > "\x7f") - stray if stray <= 3 else 0
    if text and (good > 0 if stray <= 3 else stray * 8 <= len(data)):
        text = _STRAY.sub(lambda match: chr(ord(match[0]) - _SPARE), text)
        return _SURROGATE.sub("\ufffd", text) if _has_surrogates(text) else text
    return guess_text(data)[0]


def _has_surrogates(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return True
    return False
