"""Postfix + Dovecot (LMTP, Maildir) for the benchmarks: durable queue, logs on, on loopback and high ports.

Settings follow what a careful administrator of a busy server would choose: no look-ups that slow it down, enough
processes, Dovecot's high-performance login mode, its usual fsync of LMTP deliveries. Needs root, as both servers do.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import time
from pathlib import Path

DOMAIN = "maildir.test"

_POSTFIX_MAIN = """\
compatibility_level = 3.6
queue_directory = {run}/postfix/spool
data_directory = {run}/postfix/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
maillog_file = {run}/postfix/log/mail.log
maillog_file_prefixes = {run}
myhostname = peer.bench.test
mydestination =
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
smtpd_peername_lookup = no
disable_dns_lookups = yes
smtp_host_lookup = native
smtpd_recipient_restrictions = permit_mynetworks, reject
smtpd_relay_restrictions = permit_mynetworks, reject
smtpd_client_connection_count_limit = 0
smtpd_client_event_limit_exceptions = static:all
message_size_limit = 104857600
virtual_mailbox_limit = 0
virtual_mailbox_domains = {domain}
virtual_mailbox_maps = static:all
virtual_transport = lmtp:unix:{run}/dovecot/lmtp.sock
default_process_limit = 120
lmtp_destination_concurrency_limit = 20
lmtp_destination_recipient_limit = 50
default_destination_concurrency_limit = 50
initial_destination_concurrency = 20
in_flow_delay = 0
biff = no
alias_maps =
alias_database =
"""

_POSTFIX_MASTER = """\
127.0.0.1:{smtp} inet n - n - 150 smtpd
cleanup   unix  n       -       n       -       0       cleanup
qmgr      unix  n       -       n       300     1       qmgr
rewrite   unix  -       -       n       -       -       trivial-rewrite
bounce    unix  -       -       n       -       0       bounce
defer     unix  -       -       n       -       0       bounce
trace     unix  -       -       n       -       0       bounce
verify    unix  -       -       n       -       1       verify
flush     unix  n       -       n       1000?   0       flush
proxymap  unix  -       -       n       -       -       proxymap
proxywrite unix -       -       n       -       1       proxymap
smtp      unix  -       -       n       -       -       smtp
showq     unix  n       -       n       -       -       showq
error     unix  -       -       n       -       -       error
retry     unix  -       -       n       -       -       error
lmtp      unix  -       -       n       -       -       lmtp
anvil     unix  -       -       n       -       1       anvil
scache    unix  -       -       n       -       1       scache
postlog   unix-dgram n  -       n       -       1       postlogd
"""

_DOVECOT = """\
base_dir = {run}/dovecot/base
state_dir = {run}/dovecot/state
instance_name = bench
log_path = {run}/dovecot/log/dovecot.log
listen = 127.0.0.1
protocols = pop3 lmtp
ssl = no
disable_plaintext_auth = no
auth_username_format = %Lu
passdb {{
  driver = static
  args = password=pw
}}
userdb {{
  driver = static
  args = uid={user} gid={user} home={run}/dovecot/mail/%d/%n allow_all_users=yes
}}
mail_location = maildir:~/mail
first_valid_uid = 100
mail_fsync = optimized
maildir_very_dirty_syncs = yes
mail_max_userip_connections = 3000
default_process_limit = 3000
default_client_limit = 10000
service pop3-login {{
  inet_listener pop3 {{
    port = {pop3}
  }}
  inet_listener pop3s {{
    port = 0
  }}
  service_count = 0
  process_min_avail = 2
}}
service pop3 {{
  service_count = 200
}}
service lmtp {{
  process_min_avail = 4
  unix_listener {run}/dovecot/lmtp.sock {{
    mode = 0666
  }}
}}
"""


class PostfixDovecot:
    """The peer: started by `start`, stopped by `stop`; ``roots`` are the pids whose trees are its processes."""

    name = "Postfix + Dovecot"
    domain = DOMAIN

    def __init__(self, directory: Path, *, smtp: int, pop3: int) -> None:
        self.run = directory
        self.smtp = smtp
        self.pop3 = pop3
        self._user = "postoffice-bench"

    def start(self) -> None:
        if os.geteuid() != 0:
            raise SystemExit("the benchmark starts Postfix and Dovecot, which need root")
        try:
            pwd.getpwnam(self._user)
        except KeyError:
            subprocess.run(["useradd", "-r", "-M", "-d", "/nonexistent", "-s", "/usr/sbin/nologin", self._user], check=True)
        for part in ("postfix/etc", "postfix/spool", "postfix/data", "postfix/log", "dovecot/base", "dovecot/state",
                     "dovecot/log", "dovecot/mail"):
            (self.run / part).mkdir(parents=True, exist_ok=True)
        for path in (self.run, *self.run.parents):
            path.chmod(path.stat().st_mode | 0o011)
        shutil.chown(self.run / "postfix/data", "postfix")
        shutil.chown(self.run / "dovecot/mail", self._user)
        values = {"run": self.run, "domain": DOMAIN, "smtp": self.smtp, "pop3": self.pop3, "user": self._user}
        etc = self.run / "postfix/etc"
        (etc / "main.cf").write_text(_POSTFIX_MAIN.format(**values))
        (etc / "master.cf").write_text(_POSTFIX_MASTER.format(**values))
        (self.run / "dovecot/dovecot.conf").write_text(_DOVECOT.format(**values))
        system = Path("/etc/postfix/main.cf")
        if not system.exists():
            system.write_text("compatibility_level = 3.6\n")
        subprocess.run(["postconf", "-c", "/etc/postfix", "-e", f"alternate_config_directories = {etc}"], check=True)
        if not Path("/etc/postfix/master.cf").exists():
            shutil.copy(etc / "master.cf", "/etc/postfix/master.cf")
        subprocess.run(["dovecot", "-c", self.run / "dovecot/dovecot.conf"], check=True)
        subprocess.run(["postfix", "-c", etc, "start"], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.roots = [int((self.run / "postfix/spool/pid/master.pid").read_text()),
                      int((self.run / "dovecot/base/master.pid").read_text())]

    def stop(self) -> None:
        subprocess.run(["postfix", "-c", self.run / "postfix/etc", "stop"], check=False,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        pid = self.run / "dovecot/base/master.pid"
        if pid.exists():
            os.kill(int(pid.read_text()), signal.SIGTERM)

    def count_delivered(self) -> int:
        """How many messages Postfix has handed to Dovecot's LMTP so far, by its log."""
        log = self.run / "postfix/log/mail.log"
        return log.read_bytes().count(b"status=sent") if log.exists() else 0

    def wait_delivered(self, count: int, seconds: float = 300) -> None:
        """Until that many were delivered in all."""
        until = time.monotonic() + seconds
        while self.count_delivered() < count:
            if time.monotonic() > until:
                raise SystemExit("Postfix did not deliver everything in time")
            time.sleep(0.02)
