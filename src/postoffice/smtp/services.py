"""What an SMTP session works with: the services of its process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from ssl import SSLContext

from postoffice.base.clock import Clock
from postoffice.base.ids import MessageIds
from postoffice.base.tasks import Tasks
from postoffice.config.registry import Snapshot
from postoffice.directory.api import Directory
from postoffice.policy.api import SignInService
from postoffice.policy.pipeline import Pipeline
from postoffice.queue.intake import Intake
from postoffice.smtp.aborts import Aborts
from postoffice.smtp.budget import MemoryBudget
from postoffice.smtp.offers import Offers
from postoffice.store.api import Store
from postoffice.trace.api import Trace


@dataclass(frozen=True, slots=True)
class Services:
    """One per process, shared by SMTP-Accept and submission. ``settings`` gives the present snapshot and is cheap;
    ``context`` the TLS context for STARTTLS, None while nothing can be loaded."""

    intake: Intake
    pipeline: Pipeline
    store: Store
    directory: Directory
    signin: SignInService
    trace: Trace
    clock: Clock
    ids: MessageIds
    settings: Callable[[], Snapshot]
    context: Callable[[], SSLContext | None] = lambda: None
    version: str = ""
    budget: MemoryBudget = field(default_factory=MemoryBudget)
    aborts: Aborts = field(default_factory=Aborts)
    offers: Offers = field(default_factory=Offers)
    tasks: Tasks = field(default_factory=Tasks)
