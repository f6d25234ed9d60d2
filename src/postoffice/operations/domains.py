"""The local mail domains: SMTP-Router/Config/LocalMailDomains as a list one adds to and takes from."""

from __future__ import annotations

from postoffice.base.errors import InputError, PostOfficeError
from postoffice.config.kinds import parse_domain
from postoffice.directory.model import Account
from postoffice.message.address import parse_address
from postoffice.operations.change_settings import change_settings
from postoffice.operations.office import Office
from postoffice.settings.smtp_router import LOCAL_MAIL_DOMAINS

_NAMED = 5                                  # so many accounts are named where a domain is still used


def list_domains(office: Office) -> list[str]:
    """The local mail domains in their order."""
    domains = office.settings.current()[LOCAL_MAIL_DOMAINS]
    return list(domains)


def add_domain(office: Office, text: str, *, who: str, origin: str) -> str:
    """Add a domain; its form as stored. Adding one that is there changes nothing. Raises InputError for a bad name."""
    domain = _parse(text)
    domains = list_domains(office)
    if domain not in domains:
        _save(office, [*domains, domain], who, origin)
    return domain


def remove_domain(office: Office, text: str, *, who: str, origin: str) -> str:
    """Remove a domain. Raises PostOfficeError when it is not there or accounts have addresses in it, naming them."""
    domain = _parse(text)
    domains = list_domains(office)
    if domain not in domains:
        raise PostOfficeError(f"{domain} is not a local mail domain.", "List them with: postoffice domain list")
    used = list_users(office, domain)
    if used:
        names = ", ".join(account.address for account in used[:_NAMED])
        more = f" and {len(used) - _NAMED} more" if len(used) > _NAMED else ""
        raise PostOfficeError(f"{domain} is still used by {names}{more}.",
                              "Give these accounts other addresses or remove them first.")
    _save(office, [one for one in domains if one != domain], who, origin)
    return domain


def list_users(office: Office, domain: str) -> list[Account]:
    """The accounts with an address in a domain. Addresses that follow the host name are no reason to keep it."""
    return [account for account in office.directory.list_accounts()
            if office.directory.get_reserved_role(account.id) is None
            and any(parse_address(text, utf8=True).key[1] == domain for text in account.all_addresses)]


def _parse(text: str) -> str:
    try:
        return parse_domain(text)
    except ValueError as error:
        raise InputError("domain", f"{error}.") from None


def _save(office: Office, domains: list[str], who: str, origin: str) -> None:
    change_settings(office, {LOCAL_MAIL_DOMAINS.path: " ".join(domains)}, who=who, origin=origin)
