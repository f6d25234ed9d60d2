"""Password-Server: the port of a service that is not served yet; it is stored."""

from __future__ import annotations

from postoffice.config.keys import Key
from postoffice.config.kinds import PORTS

SOCKET = Key(
    path="Password-Server/Config/Socket",
    kind=PORTS,
    default="106",
    doc="The password port. Stored until the service exists.",
    ja="passwordのポート番号(サービスが加わるまで保存のみ)。",
)

KEYS = (SOCKET,)
