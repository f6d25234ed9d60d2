"""`postoffice trace`: where did this message go?"""

from __future__ import annotations

import json
from collections.abc import Iterable

import click

from postoffice.base.ids import format_id, get_id_seconds
from postoffice.cli.office import pass_office
from postoffice.operations import tracing
from postoffice.operations.office import Office
from postoffice.trace import rows
from postoffice.trace.search import Query


@click.group(name="trace", invoke_without_command=True)
@click.option("--from", "sender", default="", metavar="TEXT", help="Sender: an address or a part of one.")
@click.option("--to", "recipient", default="", metavar="TEXT", help="Recipient: an address or a part of one.")
@click.option("--since", default="", metavar="WHEN",
              help="2h, 3d, 2026-11-24 or '2026-11-24 12:30'.")
@click.option("--until", default="", metavar="WHEN", help="The same forms.")
@click.option("--status", default="", metavar="STATUS", help=", ".join(tracing.STATUSES))
@click.option("--id", "text", default="", metavar="TEXT", help="An id of ours, or (a part of) a Message-ID field.")
@click.option("--ip", "client", default="", metavar="ADDRESS", help="Address of the client that brought it.")
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1, 1_000_000))
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.pass_context
@pass_office
def command(office: Office, context: click.Context, sender: str, recipient: str, since: str, until: str, status: str,
            text: str, client: str, limit: int, as_json: bool) -> None:
    """Find messages, newest first. `postoffice trace show ID` tells one message's whole story."""
    if context.invoked_subcommand:
        return
    moment = tracing.now()
    if len(text) == 13 and text.isalnum():
        _print_rows([tracing.get_message(office.spool, text)], as_json)
        return
    query = Query(
        sender=sender, recipient=recipient, client=client, status=status, text=text, limit=limit,
        since=tracing.parse_moment("--since", since, moment) if since else 0,
        until=tracing.parse_moment("--until", until, moment) if until else 0,
    )
    _print_rows(tracing.find_messages(office.spool, query), as_json)


@command.command()
@click.argument("message_id", metavar="ID")
@click.option("--json", "as_json", is_flag=True)
@click.option("--ja", is_flag=True, help="The sentences in Japanese.")
@pass_office
def show(office: Office, message_id: str, as_json: bool, ja: bool) -> None:
    """The timeline of one message."""
    found = tracing.describe_timeline(tracing.get_message(office.spool, message_id))
    if as_json:
        click.echo(json.dumps(found, ensure_ascii=False))
        return
    click.echo(f"{found['id']}  {found['status']}  {found['size']} bytes")
    click.echo(f"  from    <{found['from']}>")
    for one in found["to"]:
        click.echo(f"  to      <{one}>")
    if found["subject"]:
        click.echo(f"  subject {found['subject']}")
    if found["message_id"]:
        click.echo(f"  id      {found['message_id']}")
    for step in found["steps"]:
        click.echo(f"{step['time']}  {step['module']:16} {step['ja' if ja else 'sentence']}")


@command.command()
@click.argument("address")
@click.option("--since", default="1d", show_default=True, metavar="WHEN",
              help="2h, 3d, 2026-11-24 or '2026-11-24 12:30'.")
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1, 1_000_000))
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.option("--ja", is_flag=True, help="The sentences in Japanese.")
@pass_office
def client(office: Office, address: str, since: str, limit: int, as_json: bool, ja: bool) -> None:
    """What the client at an IP ADDRESS did that brought no message: refusals, sign-ins, errors; newest first."""
    moment = tracing.parse_moment("--since", since, tracing.now())
    for step in tracing.list_client_steps(office.spool, address, moment, limit):
        if as_json:
            click.echo(json.dumps(tracing.describe_step(step), ensure_ascii=False))
        else:
            click.echo(f"{tracing.format_time(step.seconds)}  {step.module:16} {step.ja if ja else step.sentence}")


def _print_rows(found: Iterable[rows.Row], as_json: bool) -> None:
    for row in found:
        if as_json:
            click.echo(json.dumps(tracing.describe(row), ensure_ascii=False))
            continue
        summary = row.summary
        to = summary.recipients[0] if summary.recipients else ""
        more = f" +{len(summary.recipients) - 1}" if len(summary.recipients) > 1 else ""
        click.echo(f"{tracing.format_time(get_id_seconds(summary.message_id))}  {format_id(summary.message_id)}  "
                   f"{summary.status:10} <{summary.sender}> -> <{to}>{more}  {summary.subject[:40]}")
