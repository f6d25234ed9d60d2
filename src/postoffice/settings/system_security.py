"""System-Security: who may sign in from where, and what happens to guessers."""

from __future__ import annotations

from postoffice.config.keys import Key
from postoffice.config.kinds import DOMAINS_OR_NETWORKS, NETWORKS, Int, Seconds

PLAINTEXT_LOGIN_FROM = Key(
    path="System-Security/Config/PlaintextLoginFrom",
    kind=NETWORKS,
    default="",
    doc=(
        "Networks whose clients may sign in without TLS (old copiers, scanners). All others are "
        "offered no sign-in without TLS."
    ),
    ja="TLSなしのログインを許すネットワーク(古い複合機など)。",
)
LOGIN_ALLOWED_FROM = Key(
    path="System-Security/Config/LoginAllowedFrom",
    kind=DOMAINS_OR_NETWORKS,
    default="",
    doc="Networks from which anybody may sign in to POP3, IMAP and web; empty: everywhere.",
    ja="POP3・IMAP・Webにログインできるネットワーク。空欄ならどこからでも。",
)
BAN_WRONG_PASSWORDS = Key(
    path="System-Security/Config/BanWrongPasswords",
    kind=Int(0, 100000),
    default="10",
    doc=(
        "So many different wrong passwords within the window ban the pair of account and client; 0: "
        "never."
    ),
    ja=(
        "この数の異なる誤ったパスワードで、そのアカウントとクライアントの組を停止します。0なら停止しませ"
        "ん。"
    ),
)
BAN_ACCOUNTS = Key(
    path="System-Security/Config/BanAccounts",
    kind=Int(0, 100000),
    default="30",
    doc=(
        "Failures on so many different accounts within the window ban all sign-ins of a client; 0: "
        "never."
    ),
    ja="この数の異なるアカウントで失敗したクライアントのログインを停止します。0なら停止しません。",
)
BAN_WINDOW = Key(
    path="System-Security/Config/BanWindow",
    kind=Seconds(1, 864000),
    default="600",
    doc="The time within which failures are counted.",
    ja="失敗を数える期間。",
)
BAN_TIME = Key(
    path="System-Security/Config/BanTime",
    kind=Seconds(1, 864000),
    default="900",
    doc="How long a ban lasts.",
    ja="停止する時間。",
)
MAX_LOGIN_DELAY = Key(
    path="System-Security/Config/MaxLoginDelay",
    kind=Seconds(0, 60),
    default="5",
    doc="To how much the delay of an answer rises with failures.",
    ja="失敗が続いたときの応答の遅れの上限。",
)
BAN_EXCEPTIONS = Key(
    path="System-Security/Config/BanExceptions",
    kind=NETWORKS,
    default="",
    doc="Networks that are never banned or delayed (a gateway behind which many users sit).",
    ja="停止も遅延もしないネットワーク(多くの利用者が共有するゲートウェイなど)。",
)
HASHING_QUEUE = Key(
    path="System-Security/Config/HashingQueue",
    kind=Int(1, 100000),
    default="200",
    doc=(
        "Sign-ins that may wait for their password to be checked, per process; more are told to try "
        "later."
    ),
    ja="パスワード確認を待てるログインの数(プロセスごと)。",
)
LOGIN_CACHE_TIME = Key(
    path="System-Security/Config/LoginCacheTime",
    kind=Seconds(0, 86400),
    default="300",
    doc=(
        "How long a successful sign-in is remembered, so that the next one is quick; any change of the "
        "account forgets it."
    ),
    ja="成功したログインを覚えておく時間。アカウントの変更で忘れます。",
)

KEYS = (
    PLAINTEXT_LOGIN_FROM, LOGIN_ALLOWED_FROM, BAN_WRONG_PASSWORDS, BAN_ACCOUNTS, BAN_WINDOW, BAN_TIME,
    MAX_LOGIN_DELAY, BAN_EXCEPTIONS, HASHING_QUEUE, LOGIN_CACHE_TIME,
)
