"""`relay keygen`: makes API keys of the relay, and signing secrets."""

import hashlib
import secrets

import click

from relay import signing


@click.command("keygen")
@click.option("--name", default="ops", show_default=True, help="What the key is for; logs and limits name it so.")
@click.option("--signing", "for_signing", is_flag=True, help="Make a signing secret (whsec_...) instead.")
def command(name: str, for_signing: bool) -> None:
    """Make an API key for the relay. The key is shown once; the configuration holds only its hash.

    \b
    Examples:
      relay keygen --name zapier
      relay keygen --signing          (a secret for an endpoint, to share with its receiver)
    """
    if for_signing:
        click.echo(signing.new_secret(secrets.token_bytes(32)))
        return
    key = "relay_" + secrets.token_urlsafe(32)
    digest = hashlib.sha256(key.encode()).hexdigest()
    click.echo(f"{key}\n")
    click.echo("Give that to the client (Authorization: Bearer ...). Put this into config.yaml:\n")
    click.echo(f"security:\n  api_keys:\n    - {{name: {name}, hash: sha256:{digest}}}")
