"""The lists: commands, groups of settings. One line each; what they do stands where they point to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from postoffice.config.registry import Registry

# Name -> "module:attribute" of its click command (without attribute: ``command``), in the order of the help.
COMMANDS: Mapping[str, str] = {
    "setup": "postoffice.cli.commands.setup",
    "start": "postoffice.cli.commands.server:start",
    "stop": "postoffice.cli.commands.server:stop",
    "restart": "postoffice.cli.commands.server:restart",
    "status": "postoffice.cli.commands.server:status",
    "account": "postoffice.cli.commands.account",
    "domain": "postoffice.cli.commands.domain",
    "postmaster": "postoffice.cli.commands.postmaster",
    "bans": "postoffice.cli.commands.bans",
    "config": "postoffice.cli.commands.config",
    "store": "postoffice.cli.commands.store",
    "trace": "postoffice.cli.commands.trace",
    "logs": "postoffice.cli.commands.logs",
    "demo": "postoffice.cli.commands.demo",
}


def build_registry() -> Registry:
    """All settings of the server, one file per module of Post.Office."""
    from postoffice.config.registry import Registry
    from postoffice.settings import (
        account_manager,
        dispatch,
        finger_server,
        imap4_server,
        ldap_server,
        log,
        mailbox_deliver,
        password_server,
        pop3_server,
        smtp_accept,
        smtp_router,
        store,
        system_security,
        tls,
        www_server,
    )
    from postoffice.trace import switches

    groups = (
        dispatch, smtp_accept, smtp_router, mailbox_deliver, pop3_server, imap4_server, www_server, ldap_server,
        finger_server, password_server, account_manager, system_security, log, tls, store, switches,
    )
    return Registry([key for group in groups for key in group.KEYS])
