"""SMTP-Accept: receiving mail by SMTP and submission."""

from __future__ import annotations

from postoffice.config.keys import Key
from postoffice.config.kinds import ONLY_NO, PORTS, YES_NO, Bytes, Choice, Int, Seconds

SOCKET = Key(
    path="SMTP-Accept/Config/Socket",
    kind=PORTS,
    default="25",
    doc="The SMTP port.",
    ja="SMTPのポート番号。",
)
SUBMISSION_SOCKET = Key(
    path="SMTP-Accept/Config/SubmissionSocket",
    kind=PORTS,
    default="587",
    doc="The submission port: users' mail programs, with STARTTLS and sign-in.",
    ja="メールソフトからの送信に使うポート(STARTTLSとログインが必要)。",
)
SSL_SOCKET = Key(
    path="SMTP-Accept/Config/SSLSocket",
    kind=PORTS,
    default="465",
    doc="The submission port with TLS from the first byte (SMTPS).",
    ja="最初からTLSで通信する送信用ポート(SMTPS)。",
)
ALLOW_BDAT = Key(
    path="SMTP-Accept/Config/AllowBDAT",
    kind=YES_NO,
    default="yes",
    doc="Offer CHUNKING and accept BDAT.",
    ja="CHUNKINGを提示し、BDATを受け付けます。",
)
ALLOW_EHLO = Key(
    path="SMTP-Accept/Config/AllowEHLO",
    kind=YES_NO,
    default="yes",
    doc="Accept EHLO, and with it every extension.",
    ja="EHLOと拡張機能を受け付けます。",
)
ALLOW_ETRN = Key(
    path="SMTP-Accept/Config/AllowETRN",
    kind=ONLY_NO,
    default="no",
    doc="ETRN is not offered by this server.",
    ja="ETRNには対応していません。",
)
ALLOW_EXPN = Key(
    path="SMTP-Accept/Config/AllowEXPN",
    kind=YES_NO,
    default="no",
    doc="Answer EXPN. Off, the answer is 502.",
    ja="EXPNに応答します。オフのときは502を返します。",
    departure="The original answered EXPN as shipped; it tells strangers who is behind an address.",
)
ALLOW_HELP = Key(
    path="SMTP-Accept/Config/AllowHELP",
    kind=YES_NO,
    default="yes",
    doc="Answer HELP with the list of commands.",
    ja="HELPにコマンドの一覧を返します。",
)
ALLOW_ONEX = Key(
    path="SMTP-Accept/Config/AllowONEX",
    kind=ONLY_NO,
    default="no",
    doc="ONEX is not offered by this server.",
    ja="ONEXには対応していません。",
)
ALLOW_SIZE = Key(
    path="SMTP-Accept/Config/AllowSIZE",
    kind=YES_NO,
    default="yes",
    doc="Announce SIZE with the largest message accepted.",
    ja="SIZEで受信できる最大の大きさを知らせます。",
)
ALLOW_VERB = Key(
    path="SMTP-Accept/Config/AllowVERB",
    kind=ONLY_NO,
    default="no",
    doc="VERB is not offered by this server.",
    ja="VERBには対応していません。",
)
ALLOW_VRFY = Key(
    path="SMTP-Accept/Config/AllowVRFY",
    kind=YES_NO,
    default="no",
    doc="Answer VRFY with what is known. Off, the answer is a neutral 252.",
    ja="VRFYに実在の有無を答えます。オフのときは中立の252を返します。",
    departure="The original answered VRFY as shipped; address collectors use it.",
)
ALLOW_STARTTLS = Key(
    path="SMTP-Accept/Config/AllowSTARTTLS",
    kind=YES_NO,
    default="yes",
    doc="Offer STARTTLS, where a certificate can be loaded.",
    ja="証明書が読み込める場合にSTARTTLSを提示します。",
)
DO_AUTH = Key(
    path="SMTP-Accept/Config/DoAUTH",
    kind=YES_NO,
    default="yes",
    doc="Offer sign-in (AUTH). Off, nobody can submit mail.",
    ja="ログイン(AUTH)を提示します。オフにすると誰もメールを送信できません。",
)
HIDE_HOSTNAME = Key(
    path="SMTP-Accept/Config/HideHostname",
    kind=YES_NO,
    default="no",
    doc=(
        "Leave the host name out of the greeting and of what we generate; the mail domain stands there "
        "instead."
    ),
    ja="応答や生成するヘッダにホスト名を出さず、メールドメインを使います。",
)
HIDE_CLIENT_ADDRESS = Key(
    path="SMTP-Accept/Config/HideClientAddress",
    kind=YES_NO,
    default="no",
    doc="Leave name and address of a signed-in client out of the Received field.",
    ja="ログインした送信者のアドレスをReceivedに残しません。",
)
COMPATIBLE_BANNER = Key(
    path="SMTP-Accept/Config/CompatibleBanner",
    kind=YES_NO,
    default="no",
    doc="Greeting and Received field in the form of Post.Office 3.5, for programs that look for it.",
    ja="Post.Office 3.5の形式で応答とReceivedを書きます。",
    departure="The original always told version and licence to everybody.",
)
DO_CLIENT_DNS_LOOKUP = Key(
    path="SMTP-Accept/Config/DoClientDNSLookup",
    kind=ONLY_NO,
    default="no",
    doc="Look up the name of a client's address. Kept for the time when look-ups exist; no effect yet.",
    ja="クライアントのアドレスの逆引きを行います(現在は効果がありません)。",
)
MAX_BAD_COMMANDS = Key(
    path="SMTP-Accept/Config/MaxBadCommands",
    kind=Int(1, 10000),
    default="25",
    doc="After so many bad commands the connection is ended with 421.",
    ja="誤ったコマンドがこの回数に達すると421で切断します。",
)
MESSAGE_SIZE = Key(
    path="SMTP-Accept/Config/MessageSize",
    kind=Bytes(),
    default="52428800",
    doc="The largest message accepted; 0: no limit.",
    ja="受信できる最大の大きさ。0なら無制限。",
    departure="The original accepted 5 MB.",
)
MAX_RECIPIENTS = Key(
    path="SMTP-Accept/Config/MaxRecipients",
    kind=Int(1, 100000),
    default="1000",
    doc="Recipients of one message; further ones are told 452 and can be sent again.",
    ja="1通の宛先数の上限。超えた宛先には452を返します。",
)
TIMEOUT_COMMAND = Key(
    path="SMTP-Accept/Config/TimeoutCommand",
    kind=Seconds(1, 86400),
    default="300",
    doc="How long a client may take for its next command or the next piece of a message.",
    ja="次のコマンドやデータを待つ時間。",
    departure="The original waited 600 seconds; RFC 5321 asks for 300.",
)
TIMEOUT_SESSION = Key(
    path="SMTP-Accept/Config/TimeoutSession",
    kind=Seconds(10, 864000),
    default="7200",
    doc="How long one connection may last in all.",
    ja="1つの接続の最大時間。",
)
MAX_SESSIONS = Key(
    path="SMTP-Accept/Config/MaxSessions",
    kind=Int(1, 1000000),
    default="2000",
    doc="Connections at the same time, per process; more are answered 421.",
    ja="同時接続数の上限(プロセスごと)。超えると421を返します。",
)
MAX_SESSIONS_PER_CLIENT = Key(
    path="SMTP-Accept/Config/MaxSessionsPerClient",
    kind=Int(0, 1000000),
    default="100",
    doc="Connections of one client (IPv4 address, IPv6 /64) at the same time, per process; 0: no limit.",
    ja="1つのクライアントからの同時接続数の上限。0なら無制限。",
)
MAX_MEMORY = Key(
    path="SMTP-Accept/Config/MaxMemory",
    kind=Bytes(1048576),
    default="268435456",
    doc=(
        "Bytes of messages all sessions of a process hold in memory together; beyond it clients are "
        "told 452."
    ),
    ja="受信中のメールが使うメモリの合計の上限。超えると452を返します。",
)
MIN_FREE_DISK = Key(
    path="SMTP-Accept/Config/MinFreeDisk",
    kind=Bytes(),
    default="104857600",
    doc=(
        "Free space that must remain on the file systems of spool and mailboxes; below it mail is "
        "answered 452."
    ),
    ja="ディスクの最低空き容量。下回ると452を返します。",
)
VERIFY_RCPTS = Key(
    path="SMTP-Accept/Config/VerifyRcpts",
    kind=YES_NO,
    default="yes",
    doc="Refuse unknown recipients at RCPT. Off, they are accepted and the message fails later.",
    ja="存在しない宛先をRCPTの時点で拒否します。",
    departure=(
        "The original accepted unknown recipients and returned the message later, which sends bounces "
        "to forged senders."
    ),
)
QUOTA_REPLY = Key(
    path="SMTP-Accept/Config/QuotaReply",
    kind=Choice(("temporary", "permanent")),
    default="temporary",
    doc="What a sender is told of a full mailbox: temporary (452, tried again) or permanent (552).",
    ja=(
        "満杯のメールボックス宛てへの返答。temporaryは再送を促し(452)、permanentは"
        "断ります(552)。"
    ),
)

KEYS = (
    SOCKET, SUBMISSION_SOCKET, SSL_SOCKET, ALLOW_BDAT, ALLOW_EHLO, ALLOW_ETRN, ALLOW_EXPN, ALLOW_HELP,
    ALLOW_ONEX, ALLOW_SIZE, ALLOW_VERB, ALLOW_VRFY, ALLOW_STARTTLS, DO_AUTH, HIDE_HOSTNAME,
    HIDE_CLIENT_ADDRESS, COMPATIBLE_BANNER, DO_CLIENT_DNS_LOOKUP, MAX_BAD_COMMANDS, MESSAGE_SIZE,
    MAX_RECIPIENTS, TIMEOUT_COMMAND, TIMEOUT_SESSION, MAX_SESSIONS, MAX_SESSIONS_PER_CLIENT, MAX_MEMORY,
    MIN_FREE_DISK, VERIFY_RCPTS, QUOTA_REPLY,
)
