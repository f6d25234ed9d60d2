"""Dates of mail: reading what senders write, writing RFC 5322.

Pure: the time and the zone come in as arguments. RFC 5322 §3.3 and §4.3 (obsolete forms), RFC 2822 years.
"""

from __future__ import annotations

import re
from functools import lru_cache

_MONTHS = {name: number for number, name in enumerate(
    ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"), 1)}
_MONTH_NAMES = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_DAY_NAMES = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_DATE = re.compile(
    rb"(\d{1,2})[ \t-]{1,4}([A-Za-z]{3})[a-z]{0,6}\.?[ \t,-]{1,4}(\d{2,4})[ \t,]{1,4}"
    rb"(\d{1,2})[:.](\d{1,2})(?:[:.](\d{1,2}))?(?:\.\d{1,9})?[ \t]{0,4}(?:([+-]\d{4})|([A-Za-z]{1,4}))?",
)
# asctime, as some scripts write: Tue Nov 24 09:41:07 2026
_ASCTIME = re.compile(
    rb"([A-Za-z]{3})[a-z]{0,6}[ \t]{1,4}(\d{1,2})[ \t,]{1,4}(\d{1,2}):(\d{2})(?::(\d{2}))?[ \t]{1,4}"
    rb"(?:([+-]\d{4})|([A-Za-z]{1,4}))?[ \t]{0,4}(\d{4})",
)
_ISO = re.compile(rb"(\d{4})-(\d{2})-(\d{2})[T \t](\d{2}):(\d{2})(?::(\d{2}))?(?:\.\d{1,9})?[ \t]?([+-]\d{2}:?\d{2})?")
_ZONES = {b"EST": -300, b"EDT": -240, b"CST": -360, b"CDT": -300, b"MST": -420, b"MDT": -360, b"PST": -480,
          b"PDT": -420, b"JST": 540}
_MAX_FIELD = 200
# As RFC 5322 wants it; day and zone repeat from message to message, so both are kept.
_COMMON = re.compile(rb"[ \t]*(?:[A-Za-z]{3},[ ])?(\d\d? [A-Za-z]{3} \d{4}) (\d\d):(\d\d):(\d\d) ([+-]\d{4})")


def parse_date(value: bytes) -> int | None:
    """Seconds since 1970 of a Date field's value; None when it cannot be read. Unknown zones count as UTC."""
    match = _COMMON.match(value)
    if match is not None:
        date, hour, minute, second, zone = match.groups()
        start = _parse_day(date)
        hours, minutes, seconds = int(hour), int(minute), int(second)
        if start is None or hours > 23 or minutes > 59 or seconds > 60:
            return None
        return start + hours * 3_600 + minutes * 60 + seconds - _parse_offset(zone) * 60
    return _parse_carefully(value)


@lru_cache(maxsize=512)
def _parse_day(date: bytes) -> int | None:
    """Seconds since 1970 at which ``24 Nov 2026`` begins in UTC."""
    day, month, year = date.split()
    number = _MONTHS.get(month.lower().decode("ascii"))
    return None if number is None else _count(int(year), number, int(day), 0, 0, 0, 0)


@lru_cache(maxsize=128)
def _parse_offset(zone: bytes) -> int:
    return _parse_zone(zone, None)


def _parse_carefully(value: bytes) -> int | None:
    if len(value) > _MAX_FIELD:
        value = value[:_MAX_FIELD]
    match = _DATE.search(value)
    if match is not None:
        day, month, year, hour, minute, second, offset, zone = match.groups()
        number = _MONTHS.get(month.lower().decode("ascii"))
        return None if number is None else _count(
            int(year), number, int(day), int(hour), int(minute), int(second or 0), _parse_zone(offset, zone))
    match = _ASCTIME.search(value)
    if match is not None:
        month, day, hour, minute, second, offset, zone, year = match.groups()
        number = _MONTHS.get(month.lower().decode("ascii"))
        if number is not None:
            return _count(
                int(year), number, int(day), int(hour), int(minute), int(second or 0), _parse_zone(offset, zone))
    match = _ISO.search(value)
    if match is not None:
        year, month, day, hour, minute, second, offset = match.groups()
        return _count(int(year), int(month), int(day), int(hour), int(minute), int(second or 0),
                      _parse_zone((offset or b"").replace(b":", b""), None))
    return None


@lru_cache(maxsize=64)
def format_date(seconds: int, offset_minutes: int = 0) -> str:
    """RFC 5322 date-time of ``seconds`` since 1970, shown ``offset_minutes`` east of UTC."""
    local = seconds + offset_minutes * 60
    days, rest = divmod(local, 86_400)
    year, month, day = _civil(days)
    hours, rest = divmod(rest, 3_600)
    sign = "-" if offset_minutes < 0 else "+"
    zone = abs(offset_minutes)
    return (f"{_DAY_NAMES[(days + 3) % 7]}, {day:02} {_MONTH_NAMES[month - 1]} {year:04} "
            f"{hours:02}:{rest // 60:02}:{rest % 60:02} {sign}{zone // 60:02}{zone % 60:02}")


def _parse_zone(offset: bytes | None, zone: bytes | None) -> int:
    if offset:
        minutes = int(offset[1:3]) * 60 + int(offset[3:5])
        # Nothing on earth is further off; a broken clock program is.
        return 0 if minutes > 1_440 else -minutes if offset.startswith(b"-") else minutes
    return _ZONES.get((zone or b"").upper(), 0)


def _count(year: int, month: int, day: int, hour: int, minute: int, second: int, offset: int) -> int | None:
    if year < 50:
        year += 2000               # RFC 5322 §4.3
    elif year < 1000:
        year += 1900
    if not (1 <= month <= 12 and 1 <= day <= 31 and hour < 24 and minute < 60 and second <= 60):
        return None
    return _days(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second - offset * 60


def _days(year: int, month: int, day: int) -> int:
    """Days since 1970-01-01 in the Gregorian calendar."""
    if month <= 2:
        year -= 1
        month += 12
    return 365 * year + year // 4 - year // 100 + year // 400 + (153 * (month - 3) + 2) // 5 + day - 719_469


def _civil(days: int) -> tuple[int, int, int]:
    days += 719_468
    era, day_of_era = divmod(days, 146_097)
    year_of_era = (day_of_era - day_of_era // 1_460 + day_of_era // 36_524 - day_of_era // 146_096) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    shifted = (5 * day_of_year + 2) // 153
    day = day_of_year - (153 * shifted + 2) // 5 + 1
    month = shifted + 3 if shifted < 10 else shifted - 9
    return year_of_era + era * 400 + (month <= 2), month, day
