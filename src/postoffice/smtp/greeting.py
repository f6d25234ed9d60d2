"""What we call ourselves: the host name in greeting and Received field, and how much they tell of the product."""

from __future__ import annotations

from postoffice.base.ids import format_id
from postoffice.config.registry import Snapshot
from postoffice.message.dates import format_date
from postoffice.message.trace_fields import format_compatible_product
from postoffice.queue.intake import OfficeNames
from postoffice.settings import dispatch, smtp_accept, smtp_router

# The form of the original, for programs that look for it; the licence number is nobody's.
_RELEASE = "0"
_LICENCE = "0-0U0L0S0V0"


def get_host_name(snapshot: Snapshot) -> str:
    """The host's name, or the mail domain where the host name is to be hidden or was never given."""
    if snapshot[dispatch.HOST_NAME] and not snapshot[smtp_accept.HIDE_HOSTNAME]:
        return snapshot[dispatch.HOST_NAME]
    domains = snapshot[smtp_router.LOCAL_MAIL_DOMAINS]
    return snapshot[dispatch.DOMAIN_NAME] or (domains[0] if domains else "localhost")


def format_greeting(snapshot: Snapshot, version: str, seconds: float, session_id: int) -> str:
    """The text after 220. It begins with the host's name (RFC 5321 §4.3.1)."""
    host = get_host_name(snapshot)
    if not snapshot[smtp_accept.COMPATIBLE_BANNER]:
        return f"{host} ESMTP server ready {format_id(session_id)}"
    return (f"{host} ESMTP server (Post.Office v{version} release {_RELEASE} ID# {_LICENCE}) ready "
            f"{format_date(int(seconds))}")


def build_office_names(version: str) -> OfficeNames:
    """The names for `queue.intake.Intake`."""
    compatible = format_compatible_product(version, _RELEASE, _LICENCE)
    return OfficeNames(
        get_host_name,
        lambda snapshot: compatible if snapshot[smtp_accept.COMPATIBLE_BANNER] else "Post.Office")
