"""The table of events: every line the plain log can hold and every step a timeline can show.

A new event is one row here; its log line, its switch in the settings, its sentence in both languages and its place in
the manual follow from the row.
"""

from __future__ import annotations

from postoffice.trace.events import EventType, Subject

_MESSAGE, _CLIENT, _SERVER = Subject.MESSAGE, Subject.CLIENT, Subject.SERVER

# --- a message comes in ------------------------------------------------------------------------------------------

ACCEPTED = EventType(
    "SMTP-Accept", "Accepted", _MESSAGE,
    ("client", "helo", "login", "protocol", "sender", "recipients", "size", "header_id"),
    "A message was taken over: it is on the disk and the client has been told so.",
    "Accepted from {client} ({helo}) by {protocol}: {size} bytes from <{sender}> for {recipients} recipient(s).",
    "{client}({helo})から {protocol} で受け取りました。差出人 <{sender}>、宛先 {recipients} 件、{size} バイト。",
)
REFUSED_MESSAGE = EventType(
    "SMTP-Accept", "RefusedMessage", _MESSAGE, ("client", "sender", "reply", "reason"),
    "A message was refused after its content had arrived; nothing of it was kept.",
    "Refused after DATA from {client}: {reply} ({reason})",
    "{client}からのメールを本文の受信後に拒否しました: {reply}({reason})",
)
REFUSED_RECIPIENT = EventType(
    "SMTP-Accept", "RefusedRecipient", _CLIENT, ("client", "helo", "sender", "recipient", "reply", "check"),
    "A recipient was refused at RCPT.",
    "Recipient <{recipient}> refused for {client}: {reply}",
    "{client}からの宛先 <{recipient}> を拒否しました: {reply}",
)
REFUSED_SENDER = EventType(
    "SMTP-Accept", "RefusedSender", _CLIENT, ("client", "helo", "sender", "reply", "check"),
    "A sender was refused at MAIL.",
    "Sender <{sender}> refused for {client}: {reply}",
    "{client}からの差出人 <{sender}> を拒否しました: {reply}",
)
DELIVERED = EventType(
    "Mailbox-Deliver", "Delivered", _MESSAGE, ("recipient", "account", "folder"),
    "A message lies in an account's mailbox.",
    "Delivered to the mailbox of {account} for <{recipient}>.",
    "<{recipient}> 宛てを {account} のメールボックスに配送しました。",
)
NOT_DELIVERED = EventType(
    "Mailbox-Deliver", "NotDelivered", _MESSAGE, ("recipient", "reason"),
    "A recipient that was accepted at RCPT could not be served at the end.",
    "Not delivered to <{recipient}>: {reason}",
    "<{recipient}> 宛てに配送できませんでした: {reason}",
)

# --- clients of SMTP ---------------------------------------------------------------------------------------------

SMTP_CONNECTED = EventType(
    "SMTP-Accept", "Connected", _CLIENT, ("client", "port"),
    "A client connected to SMTP or submission.",
    "Connection from {client} to port {port}.", "{client}からポート {port} に接続がありました。",
)
SMTP_CLOSED = EventType(
    "SMTP-Accept", "Closed", _CLIENT, ("client", "messages", "seconds", "reason"),
    "An SMTP connection ended.",
    "Connection from {client} ended after {seconds} s with {messages} message(s): {reason}",
    "{client}の接続が終わりました({seconds} 秒、{messages} 通): {reason}",
)
SMTP_VIOLATION = EventType(
    "SMTP-Accept", "ProtocolError", _CLIENT, ("client", "detail"),
    "A client broke the protocol; the connection was ended. It is never banned for that.",
    "Protocol error by {client}: {detail}", "{client}の通信手順に誤りがあります: {detail}",
)
SMTP_ABORTED = EventType(
    "SMTP-Accept", "Aborted", _CLIENT, ("client", "sender", "size"),
    "A client went away in the middle of a message; nothing was kept.",
    "{client} went away after {size} bytes of a message from <{sender}>.",
    "{client}が送信の途中で切断しました(差出人 <{sender}>、{size} バイト)。",
)

# --- sign-in ------------------------------------------------------------------------------------------------------

LOGGED_IN = EventType(
    "Account-Manager", "LoggedIn", _CLIENT, ("service", "client", "login", "mechanism"),
    "Somebody signed in.",
    "{login} signed in to {service} from {client}.", "{login}が{client}から {service} にログインしました。",
)
LOGIN_FAILED = EventType(
    "Account-Manager", "LoginFailed", _CLIENT, ("service", "client", "login", "reason"),
    "A sign-in failed. The password is never written anywhere.",
    "Sign-in to {service} as {login} from {client} failed: {reason}",
    "{client}から {login} としての {service} ログインに失敗しました: {reason}",
)
BANNED = EventType(
    "Account-Manager", "Banned", _CLIENT, ("client", "login", "seconds", "reason"),
    "Sign-ins of a client (to one account, or all) are not answered for a while.",
    "Sign-ins from {client} to {login} are stopped for {seconds} s: {reason}",
    "{client}から {login} へのログインを {seconds} 秒間止めました: {reason}",
)
BAN_LIFTED = EventType(
    "Account-Manager", "BanLifted", _CLIENT, ("client", "login", "by"),
    "An administrator lifted a ban.",
    "The ban of {client} for {login} was lifted by {by}.", "{client}({login})の停止を {by} が解除しました。",
)

# --- POP3 ---------------------------------------------------------------------------------------------------------

POP3_CONNECTED = EventType(
    "POP3-Server", "Connected", _CLIENT, ("client", "port"),
    "A client connected to POP3.",
    "Connection from {client} to port {port}.", "{client}からポート {port} に接続がありました。",
)
POP3_CLOSED = EventType(
    "POP3-Server", "Closed", _CLIENT, ("client", "login", "retrieved", "deleted", "bytes", "reason"),
    "A POP3 session ended.",
    "Session of {login} from {client} ended: {retrieved} message(s) read, {deleted} removed, {bytes} bytes: {reason}",
    "{client}からの {login} のセッションが終わりました(受信 {retrieved} 通、削除 {deleted} 通、{bytes} バイト): {reason}",
)
POP3_VIOLATION = EventType(
    "POP3-Server", "ProtocolError", _CLIENT, ("client", "detail"),
    "A client broke the protocol; the connection was ended.",
    "Protocol error by {client}: {detail}", "{client}の通信手順に誤りがあります: {detail}",
)
POP3_RETRIEVED = EventType(
    "POP3-Server", "Retrieved", _MESSAGE, ("login", "client", "uid"),
    "A message was fetched by POP3.",
    "Fetched by {login} from {client}.", "{login}が{client}から受信しました。",
)
POP3_DELETED = EventType(
    "POP3-Server", "Deleted", _MESSAGE, ("login", "client", "uid"),
    "A message was removed by POP3 at QUIT.",
    "Removed from the mailbox of {login} by {client}.", "{login}のメールボックスから{client}が削除しました。",
)

# --- the server ---------------------------------------------------------------------------------------------------

STARTED = EventType(
    "Dispatch", "Started", _SERVER, ("version", "workers"),
    "The server started.", "Post.Office {version} started with {workers} worker(s).",
    "Post.Office {version} が起動しました(ワーカー {workers})。",
)
STOPPED = EventType(
    "Dispatch", "Stopped", _SERVER, ("reason",),
    "The server stopped.", "The server stopped: {reason}", "サーバが停止しました: {reason}",
)
PROCESS_DIED = EventType(
    "Dispatch", "ProcessDied", _SERVER, ("process", "pid", "status", "delay"),
    "A process of the server ended unexpectedly and is started again after a delay.",
    "{process} (pid {pid}) ended with {status}; started again in {delay} s.",
    "{process}(pid {pid})が {status} で終了しました。{delay} 秒後に再起動します。",
)
LISTENING = EventType(
    "Dispatch", "Listening", _SERVER, ("key", "address", "port"),
    "A port was opened.", "Listening on {address} port {port} ({key}).",
    "{address} ポート {port} で待ち受けを始めました({key})。",
)
NOT_LISTENING = EventType(
    "Dispatch", "NotListening", _SERVER, ("key", "address", "port", "reason"),
    "A port was closed or could not be opened.", "Not listening on {address} port {port} ({key}): {reason}",
    "{address} ポート {port} の待ち受けを終えました({key}): {reason}",
)
CHANGED = EventType(
    "Configuration-Manager", "Changed", _SERVER, ("key", "before", "after", "by"),
    "A setting was changed. Secret values appear as ****.", "{key} changed from [{before}] to [{after}] by {by}.",
    "{key} を [{before}] から [{after}] に変更しました({by})。",
)
CERTIFICATE_UNUSABLE = EventType(
    "Dispatch", "CertificateUnusable", _SERVER, ("file", "reason"),
    "A certificate or key cannot be loaded; STARTTLS is not announced where no other fits.",
    "The certificate {file} cannot be used: {reason}", "証明書 {file} を使えません: {reason}",
)
COUNTED = EventType(
    "Log", "Counted", _SERVER, ("client", "event", "count", "seconds"),
    "Events of one client came faster than Log/Config/ClientEventRate; the rest is only counted.",
    "{count} more events {event} of {client} within {seconds} s.", "{client}の {event} が {seconds} 秒間にさらに {count} 件ありました。",
)

EVENT_TYPES: tuple[EventType, ...] = (
    ACCEPTED, REFUSED_MESSAGE, REFUSED_RECIPIENT, REFUSED_SENDER, DELIVERED, NOT_DELIVERED,
    SMTP_CONNECTED, SMTP_CLOSED, SMTP_VIOLATION, SMTP_ABORTED,
    LOGGED_IN, LOGIN_FAILED, BANNED, BAN_LIFTED,
    POP3_CONNECTED, POP3_CLOSED, POP3_VIOLATION, POP3_RETRIEVED, POP3_DELETED,
    STARTED, STOPPED, PROCESS_DIED, LISTENING, NOT_LISTENING, CHANGED, CERTIFICATE_UNUSABLE, COUNTED,
)


def find_event_type(module: str, name: str) -> EventType | None:
    """The row of a module's event, or None."""
    for row in EVENT_TYPES:
        if row.module == module and row.name == name:
            return row
    return None
