"""What a POP3 session works with: the services of the process and the rules of the present settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from ssl import SSLContext

from postoffice.base.clock import Clock
from postoffice.base.streams import Address
from postoffice.base.tasks import Tasks
from postoffice.policy.api import SignInService
from postoffice.pop3.maildrop import Maildrops
from postoffice.store.api import Store
from postoffice.trace.api import Trace


@dataclass(frozen=True, slots=True)
class Rules:
    """The settings of POP3-Server as values. A session takes them anew at sign-in."""

    host_name: str
    banner: str = ""                        # instead of the greeting's text; "": the usual one
    compatible_banner: bool = False         # name version and licence as Post.Office did
    idle_seconds: float = 600.0             # RFC 1939 §3: at least ten minutes once signed in
    min_poll_seconds: float = 0.0           # between two sign-ins to one account; 0: none
    offer_stls: bool = True
    admits: Callable[[Address], bool] = lambda _client: True


@dataclass(frozen=True, slots=True)
class Services:
    """``rules`` is called often and must be cheap; ``context``: the TLS context for STLS, None while there
    is none. ``tasks`` runs the sign-ins."""

    store: Store
    signin: SignInService
    maildrops: Maildrops
    trace: Trace
    clock: Clock
    rules: Callable[[], Rules]
    context: Callable[[], SSLContext | None] = lambda: None
    version: str = ""
    tasks: Tasks = field(default_factory=Tasks)
