"""Finger-Server: the port of a service that is not served yet; it is stored."""

from __future__ import annotations

from postoffice.config.keys import Key
from postoffice.config.kinds import PORTS

SOCKET = Key(
    path="Finger-Server/Config/Socket",
    kind=PORTS,
    default="79",
    doc="The finger port. Stored until the service exists.",
    ja="fingerのポート番号(サービスが加わるまで保存のみ)。",
)

KEYS = (SOCKET,)
