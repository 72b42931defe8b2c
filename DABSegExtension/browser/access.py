"""Access: who may talk to the server: by token, by the name the browser calls it, and not for another site.

A page of any other site can make the user's browser send requests here. Three checks keep it out: the Host header must
be a name of this server (else a foreign name was bound to our address), the Origin header, where there is one, must be
the page's own, and the token's cookie is not sent along by requests that other sites start (SameSite=Strict).
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets
import socket
from collections.abc import Mapping
from urllib.parse import urlsplit

from DABSegCore.errors import InputError

KEY_HEADER = "X-DABSeg-Key"
"""What the gateway shows a worker, which answers nobody else."""

KEY_VARIABLE = "DABSEG_WORKER_KEY"
"""Environment variable that tells a worker what it will be shown."""

SHORTEST_TOKEN = 16


def new_secret() -> str:
    """192 random bits for a place in a URL."""
    return secrets.token_urlsafe(24)


def is_loopback(host: str) -> bool:
    """Whether an address or a name to listen on can be reached from this computer alone."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def token_for(host: str, given: str | None) -> str | None:
    """The token to demand: the one given, else a new one where others can reach the server, else None.

    Raises:
        InputError: If the one given can be guessed, or does not fit into a URL.
    """
    if given is None:
        return None if is_loopback(host) else new_secret()
    if len(given) < SHORTEST_TOKEN or not given.isascii() or not given.replace("-", "").replace("_", "").isalnum():
        raise InputError(
            f"the token has {len(given)} characters, but must have at least {SHORTEST_TOKEN} letters, digits, - or _, "
            "so that nobody guesses it; give a longer --token, or none and one is made",
            code="bad-token",
        )
    return given


class Access:
    """The checks of one server.

    Args:
        host: What it listens on.
        port: The same; tells its cookie from another server's on this computer, as cookies know no ports.
        token: Demanded of every request unless None.
    """

    def __init__(self, host: str, port: int, token: str | None) -> None:
        self.cookie = f"dabseg-{port}"
        self._token = token
        self._names = {"localhost", host.lower()}
        self._is_loopback = is_loopback(host)
        if not self._is_loopback:
            self._names |= {socket.gethostname().lower(), socket.getfqdn().lower()}

    @property
    def pass_(self) -> str:
        """What the cookie holds: not the token, so that a cookie somebody reads does not open other browsers."""
        return hashlib.sha256(f"dabseg workbench {self._token}".encode()).hexdigest()

    def knows_host(self, host_header: str) -> bool:
        """Whether a Host header names this server; a port is left aside, since a tunnel has its own."""
        try:
            name = (urlsplit(f"//{host_header}").hostname or "").lower()
        except ValueError:  # an IPv6 address that does not end
            return False
        if name in self._names:
            return True
        try:
            address = ipaddress.ip_address(name)  # no foreign name, whatever it is bound to
        except ValueError:
            return False
        return not self._is_loopback or address.is_loopback

    def is_foreign(self, headers: Mapping[str, str]) -> bool:
        """Whether a page of another site sends this; programs that are no browsers send no Origin."""
        origin = headers.get("Origin")
        return origin is not None and origin.partition("://")[2].lower() != headers.get("Host", "").lower()

    def opens(self, token: str) -> bool:
        """Whether this is the token; where none is demanded, any is as good."""
        return self._token is None or hmac.compare_digest(_bytes(token), _bytes(self._token))

    def admits(self, cookies: Mapping[str, str]) -> bool:
        """Whether a request may come in by its cookie; any may where no token is demanded."""
        return self._token is None or hmac.compare_digest(_bytes(cookies.get(self.cookie, "")), _bytes(self.pass_))


def _bytes(text: str) -> bytes:
    """For a comparison that takes as long for any; what came as no UTF-8 is none of ours either way."""
    return text.encode(errors="replace")
