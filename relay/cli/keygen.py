"""`relay keygen`: makes API keys, signing secrets, and the key that encrypts the store."""

import json
import secrets

import click

from relay.security import api_keys
from relay.signing import ed25519 as ed25519_keys
from relay.signing import standard_webhooks


@click.command("keygen")
@click.option("--name", default="ops", show_default=True, help="The key's name in logs and limits.")
@click.option("--signing", "for_signing", is_flag=True, help="Make a signing secret (whsec_...) instead.")
@click.option("--ed25519", is_flag=True, help="With --signing: a private key (whsk_...) and its public key.")
@click.option("--secret", "for_store", is_flag=True, help="Make a key for security.secret_key instead.")
def command(name: str, for_signing: bool, ed25519: bool, for_store: bool) -> None:
    """Make an API key for the relay's configuration, which holds only the hash. The key is shown once.

    `relay keys create` makes one that works at once, without a change of the configuration.

    \b
    Examples:
      relay keygen --name zapier
      relay keygen --signing          (a secret for an endpoint, to share with its receiver)
      relay keygen --signing --ed25519
      relay keygen --secret           (the key that encrypts the secrets in the store; keep it apart from the store)
    """
    if ed25519 and not for_signing:
        raise click.UsageError("--ed25519 needs --signing: API keys do not sign")
    if ed25519:
        private = ed25519_keys.new_private_key(secrets.token_bytes(32))
        click.echo(f"{private}\n")
        click.echo("This is the endpoint's secret, for the relay only. Its receiver verifies with this public key:\n")
        click.echo(ed25519_keys.public_key_of(private))
        return
    if for_signing:
        click.echo(standard_webhooks.new_secret(secrets.token_bytes(32)))
        return
    if for_store:
        click.echo(secrets.token_urlsafe(32))
        return
    key = api_keys.generate_api_key(secrets.token_bytes(api_keys.RANDOM_BYTES))
    digest = api_keys.hash_api_key(key)
    click.echo(f"{key}\n")
    click.echo("Give this key to the client (Authorization: Bearer ...). Put this into config.yaml:\n")
    click.echo(f"security:\n  api_keys:\n    - {{name: {json.dumps(name)}, hash: {digest}}}\n")
    click.echo(f"or set this variable instead:\n\nRELAY_SECURITY__API_KEYS=[{digest}]")
