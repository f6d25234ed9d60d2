"""POP3-Server: handing mail out by POP3."""

from __future__ import annotations

from postoffice.config.keys import Key
from postoffice.config.kinds import DOMAINS_OR_NETWORKS, PORTS, TEXT, YES_NO, Int, Seconds

ENABLE = Key(
    path="POP3-Server/Config/Enable",
    kind=YES_NO,
    default="yes",
    doc="Whether POP3 is served at all.",
    ja="POP3を提供するかどうか。",
)
SOCKET = Key(
    path="POP3-Server/Config/Socket",
    kind=PORTS,
    default="110",
    doc="The POP3 port.",
    ja="POP3のポート番号。",
)
SSL_SOCKET = Key(
    path="POP3-Server/Config/SSLSocket",
    kind=PORTS,
    default="995",
    doc="The POP3 port with TLS from the first byte (POP3S).",
    ja="最初からTLSで通信するPOP3のポート(POP3S)。",
)
ALLOW_STLS = Key(
    path="POP3-Server/Config/AllowSTLS",
    kind=YES_NO,
    default="yes",
    doc="Offer STLS, where a certificate can be loaded.",
    ja="証明書が読み込める場合にSTLSを提示します。",
)
BANNER = Key(
    path="POP3-Server/Config/Banner",
    kind=TEXT,
    default="",
    doc="The text of the greeting; empty: the standard one.",
    ja="接続時の応答文。空欄なら標準の文。",
)
COMPATIBLE_BANNER = Key(
    path="POP3-Server/Config/CompatibleBanner",
    kind=YES_NO,
    default="no",
    doc="Greeting in the form of Post.Office 3.5.",
    ja="Post.Office 3.5の形式で応答します。",
    departure="The original always told its version.",
)
IDLE_TIMEOUT = Key(
    path="POP3-Server/Config/IdleTimeout",
    kind=Seconds(10, 86400),
    default="600",
    doc="How long a session may be idle.",
    ja="無通信で切断するまでの時間。",
)
MAX_SESSIONS = Key(
    path="POP3-Server/Config/MaxSessions",
    kind=Int(1, 1000000),
    default="600",
    doc="Connections at the same time, per process.",
    ja="同時接続数の上限(プロセスごと)。",
)
MAX_SESSIONS_PER_CLIENT = Key(
    path="POP3-Server/Config/MaxSessionsPerClient",
    kind=Int(0, 1000000),
    default="100",
    doc="Connections of one client at the same time, per process; 0: no limit.",
    ja="1つのクライアントからの同時接続数の上限。0なら無制限。",
)
POP_MIN_POLL = Key(
    path="POP3-Server/Config/POPMinPoll",
    kind=Seconds(0, 86400),
    default="0",
    doc="The least time between two sign-ins of one account; 0: none.",
    ja="同じアカウントの受信の最小間隔。0なら制限なし。",
)
DOMAIN_ALLOWED = Key(
    path="POP3-Server/Config/DomainAllowed",
    kind=DOMAINS_OR_NETWORKS,
    default="",
    doc="Networks from which POP3 may be used; empty: everywhere.",
    ja="POP3を利用できるネットワーク。空欄ならどこからでも。",
)
DOMAIN_NOT_ALLOWED = Key(
    path="POP3-Server/Config/DomainNotAllowed",
    kind=DOMAINS_OR_NETWORKS,
    default="",
    doc="Networks from which POP3 may not be used.",
    ja="POP3を利用できないネットワーク。",
)

KEYS = (
    ENABLE, SOCKET, SSL_SOCKET, ALLOW_STLS, BANNER, COMPATIBLE_BANNER, IDLE_TIMEOUT, MAX_SESSIONS,
    MAX_SESSIONS_PER_CLIENT, POP_MIN_POLL, DOMAIN_ALLOWED, DOMAIN_NOT_ALLOWED,
)
