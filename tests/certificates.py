"""Certificates of an authority that is made for one test."""

import ssl
from dataclasses import dataclass
from pathlib import Path

import trustme


@dataclass(frozen=True)
class Certificates:
    """Files: the authority's certificate, and one each for a server at 127.0.0.1 and for a client, with their keys."""

    authority: Path
    server: Path
    client: Path

    def serving(self) -> ssl.SSLContext:
        """What the server needs."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.server)
        return context

    def demanding(self) -> ssl.SSLContext:
        """What the server needs when clients have to show a certificate."""
        context = self.serving()
        context.load_verify_locations(self.authority)
        context.verify_mode = ssl.CERT_REQUIRED
        return context


def made_in(folder: Path) -> Certificates:
    """New ones."""
    authority = trustme.CA()
    made = Certificates(folder / "ca.pem", folder / "server.pem", folder / "client.pem")
    authority.cert_pem.write_to_path(made.authority)
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(made.server)
    authority.issue_cert("client@example.com").private_key_and_cert_chain_pem.write_to_path(made.client)
    return made
