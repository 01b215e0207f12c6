"""Domains as mail servers compare them: lower case, and in ASCII where they are not."""

import idna


def plain_domain(domain: str) -> str:
    """The domain in its one form; unchanged where it has none, as what only looks like another domain has not.

    By IDNA 2008: the standard library's codec knows the rules of 2003, by which mail for `straße.de` goes to another
    owner's `strasse.de`, and by which letters of double width make any domain look like a well-known one.
    """
    domain = domain.lower().rstrip(".")
    try:
        return domain if domain.isascii() else idna.encode(domain).decode()
    except UnicodeError:
        return domain


def plain_address(address: str) -> str:
    """With its domain in that form. What stands before it only its own server may change."""
    local, at, domain = address.rpartition("@")
    return f"{local}{at}{plain_domain(domain)}"
