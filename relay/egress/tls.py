"""The trust store: the certificate authorities that the relay trusts for Exec, for receivers and for a proxy."""

import os
import ssl
from collections.abc import Mapping
from functools import lru_cache

import certifi

from relay.errors import ConfigError


def client_tls_context(environ: Mapping[str, str] = os.environ) -> ssl.SSLContext:
    """The TLS context of every connection that the relay opens.

    `SSL_CERT_FILE` (one file of PEM certificates) and `SSL_CERT_DIR` (folders that `openssl rehash` prepared, separated
    by colons) replace the public authorities, as they do for OpenSSL and curl; certificates of both are trusted.
    Without them the authorities are those of the package `certifi`. Raises ConfigError, which names the variable, if
    the file or a folder can't be used.
    """
    file, folders = environ.get("SSL_CERT_FILE") or None, environ.get("SSL_CERT_DIR") or None
    is_strict = file is None and folders is None
    for folder in (folders or "").split(os.pathsep):
        if folder and not os.path.isdir(folder):
            raise ConfigError(f"SSL_CERT_DIR names {folder}, which is no folder; correct or unset the variable")
    if is_strict:
        file = certifi.where()
    try:
        return _context(file, folders, is_strict, os.stat(file).st_mtime_ns if file else 0)
    except OSError as error:
        # An SSLError is an OSError too: the file is there, and holds no certificate.
        reason = "it holds no PEM certificate" if isinstance(error, ssl.SSLError) else error.strerror
        raise ConfigError(f"SSL_CERT_FILE names {file}, which can't be used: {reason}; correct or unset it") from None


@lru_cache(4)
def _context(file: str | None, folders: str | None, is_strict: bool, changed_at: int) -> ssl.SSLContext:
    """The context with these authorities. `changed_at` is when the file was written: a new file is read again.

    Unless `is_strict`, certificates may lack the extensions that RFC 5280 demands and Python checks from 3.13 on: many
    authorities of companies lack them. Signatures, names and dates are checked all the same.
    """
    # One for Exec and the receivers: to parse the authorities takes longer than to open the store.
    context = ssl.create_default_context(cafile=file, capath=folders)
    if not is_strict:
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context
