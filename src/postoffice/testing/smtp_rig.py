"""SMTP sessions in memory: a whole SMTP-Accept around a `MemoryStore`, spoken to through a `MemoryWire`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from ssl import SSLContext

from postoffice.base.ids import MessageIds
from postoffice.base.streams import TlsInfo
from postoffice.catalog import build_registry
from postoffice.config.registry import Registry, Snapshot
from postoffice.delivery.local import LocalDelivery
from postoffice.policy.checks.order import CHECKS
from postoffice.policy.facts import Sources
from postoffice.policy.pipeline import Pipeline
from postoffice.queue.intake import Intake
from postoffice.queue.router import Agent
from postoffice.smtp.greeting import build_office_names
from postoffice.smtp.services import Services
from postoffice.smtp.session import SmtpSession
from postoffice.store.memory import MemoryStore
from postoffice.store.model import INBOX
from postoffice.testing.fakes import FakeClock, FakeDirectory, MemoryTrace
from postoffice.testing.signin import FakeSignIn
from postoffice.testing.streams import MemoryWire, build_peer
from postoffice.trace.api import Trace

HOST = "mail.example.test"
_REGISTRY: list[Registry] = []


class SmtpRig:
    """Accounts boss (Postmaster), taro and hanako at example.test. ``settings`` names keys of SMTP-Accept, or others by
    their whole path; `change` changes them. Make it while a loop runs."""

    def __init__(self, settings: Mapping[str, str] | None = None) -> None:
        if not _REGISTRY:
            _REGISTRY.append(build_registry())
        self.registry = _REGISTRY[0]
        self.texts: dict[str, str] = {
            "Dispatch/Config/HostName": HOST, "SMTP-Router/Config/LocalMailDomains": "example.test"}
        self.snapshot = Snapshot.of(self.registry, self.texts)
        self.change(settings or {})
        self.clock = FakeClock()
        self.store = MemoryStore()
        self.trace = MemoryTrace()
        self.signin = FakeSignIn({"boss": "boss-secret", "taro": "taro-secret", "hanako": "hanako-secret"})
        self.directory = FakeDirectory(self.signin.accounts.values())
        self.context: SSLContext | None = None
        self._build(self.trace)

    def _build(self, trace: Trace) -> None:
        pipeline = Pipeline(CHECKS, Sources(self.directory, self.store))
        intake = Intake(self.store, self.directory, trace, pipeline, {Agent.LOCAL: LocalDelivery()}, self.clock,
                        build_office_names("0.0"))
        self.services = Services(
            intake, pipeline, self.store, self.directory, self.signin, trace, self.clock, MessageIds(1),
            lambda: self.snapshot, lambda: self.context, "0.0")

    def use_trace(self, trace: Trace) -> None:
        """Tell this trace from now on (the one in ``trace`` hears nothing more)."""
        self._build(trace)

    def change(self, settings: Mapping[str, str]) -> None:
        """Set keys, as an administrator would on a running server."""
        for name, text in settings.items():
            self.texts[name if "/" in name else f"SMTP-Accept/Config/{name}"] = text
        self.snapshot = Snapshot.of(self.registry, self.texts, self.snapshot.generation + 1)

    def connect(self, *, submission: bool = False, client: str = "192.0.2.7", tls: TlsInfo | None = None) -> Client:
        """A new connection; the greeting is still to be taken."""
        wire = MemoryWire(build_peer(client, local_port=587 if submission else 25), tls)
        wire.open(SmtpSession(self.services, submission=submission))
        return Client(wire)

    def read(self, account: int) -> list[bytes]:
        """All copies in an account's INBOX."""
        folder = self.store.find_folder(account, INBOX)
        found = []
        for item in self.store.list_items(folder.id) if folder else []:
            assert folder is not None
            reader = self.store.open_message(folder.id, item.uid)
            assert reader is not None
            found.append(reader.read(0, 1 << 30))
        return found


class Client:
    """The peer's side of one connection."""

    def __init__(self, wire: MemoryWire) -> None:
        self.wire = wire
        assert isinstance(wire.session, SmtpSession)
        self.session = wire.session

    @property
    def closed(self) -> bool:
        return self.wire.closed or self.wire.aborted

    def take(self) -> str:
        """What the server has said since the last call."""
        return self.wire.take().decode("ascii")

    async def say(self, data: bytes | str) -> str:
        """Send, let the server work, and take what it says. Text gets its CRLF."""
        self.wire.give(data if isinstance(data, bytes) else data.encode() + b"\r\n")
        return await self.wait()

    async def wait(self, turns: int = 20) -> str:
        """Let the loop turn until the server has said something, or it seems to have nothing to say."""
        for _ in range(turns):
            await asyncio.sleep(0)
        return self.take()

    async def ehlo(self) -> str:
        self.take()
        return await self.say("EHLO client.example.org")

    async def begin(self, *recipients: str, sender: str = "a@example.org") -> list[str]:
        """MAIL and RCPTs; the replies."""
        replies = [await self.say(f"MAIL FROM:<{sender}>")]
        for recipient in recipients:
            replies.append(await self.say(f"RCPT TO:<{recipient}>"))
        return replies

    async def send(self, *recipients: str, body: bytes = b"Subject: one\r\n\r\nHello.\r\n",
                   sender: str = "a@example.org") -> str:
        """A whole message; the last reply."""
        replies = await self.begin(*recipients, sender=sender)
        assert all(reply.startswith("250 ") for reply in replies), replies
        reply = await self.say("DATA")
        assert reply.startswith("354 "), reply
        return await self.say(body + b".\r\n")
