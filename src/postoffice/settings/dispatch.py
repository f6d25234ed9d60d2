"""Dispatch: what concerns the whole server."""

from __future__ import annotations

from postoffice.config.keys import Applies, Key
from postoffice.config.kinds import ADDRESSES, PATH, Domain, Int

SPOOL = Key(
    path="Dispatch/Config/Post.Office",
    kind=PATH,
    default="",
    doc="The spool directory: settings, log, trace and, unless they lie elsewhere, the mailboxes.",
    ja="スプールディレクトリ。設定・ログ・追跡と、別の場所に置かない限りメールボックスがここにあります。",
    applies=Applies.PLAN,
    operation="postoffice setup",
)
PROGRAM_DIR = Key(
    path="Dispatch/Config/ProgramDir",
    kind=PATH,
    default="",
    doc="The directory of the program; empty: where it is installed. For information only.",
    ja="プログラムのディレクトリ。空欄ならインストール先。表示のための項目です。",
    applies=Applies.PLAN,
    operation="postoffice setup",
)
MAILBOX_DIR = Key(
    path="Dispatch/Config/MailboxDir",
    kind=PATH,
    default="",
    doc="The mailbox directory; empty: mailbox inside the spool. All mail moves with it.",
    ja=(
        "メールボックスディレクトリ。空欄ならスプールの中の mailbox。変更にはメールの移動が伴いま"
        "す。"
    ),
    applies=Applies.PLAN,
    operation="postoffice storage move",
)
HOST_NAME = Key(
    path="Dispatch/Config/HostName",
    kind=Domain(may_be_empty=True),
    default="",
    doc=(
        "The full name of this host, as it greets and as it stands in Received fields and in the "
        "addresses of reserved accounts."
    ),
    ja="このホストの完全な名前。応答やReceived、予約アカウントのアドレスに使われます。",
)
DOMAIN_NAME = Key(
    path="Dispatch/Config/DomainName",
    kind=Domain(may_be_empty=True, may_begin_with_dot=True),
    default="",
    doc="The default domain, added to addresses without one. Empty: the first local mail domain.",
    ja="既定のドメイン。ドメインのないアドレスに補われます。空欄なら最初のローカルメールドメイン。",
)
LISTEN_ADDRESSES = Key(
    path="Dispatch/Config/ListenAddresses",
    kind=ADDRESSES,
    default="",
    doc="The addresses on which ports without an address of their own are opened. Empty: all.",
    ja="アドレスを指定していないポートを開くIPアドレス。空欄ならすべて。",
)
WORKERS = Key(
    path="Dispatch/Config/Workers",
    kind=Int(0, 64),
    default="1",
    doc="How many Serve processes answer clients; 0: one process does everything.",
    ja="クライアントに応対するプロセスの数。0なら1つのプロセスがすべてを行います。",
    applies=Applies.RESTART,
)

KEYS = (SPOOL, PROGRAM_DIR, MAILBOX_DIR, HOST_NAME, DOMAIN_NAME, LISTEN_ADDRESSES, WORKERS)
