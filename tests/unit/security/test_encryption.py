"""Encryption: which ciphertexts decrypt, and what they reveal."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.security import FieldCipher
from relay.security.encryption import NONCE_BYTES, DecryptionError

KEY, OTHER = "k" * 32, "o" * 32
NONCE = bytes(range(NONCE_BYTES))
PLACE = "endpoints.url:ep_1"
texts = st.text(st.characters(exclude_categories=["Cs"]))
nonces = st.binary(min_size=NONCE_BYTES, max_size=NONCE_BYTES)


@given(texts, texts, nonces)
def test_ciphertexts_decrypt_with_their_key_and_associated_data(text: str, place: str, nonce: bytes) -> None:
    """Any text is returned unchanged."""
    sealed = FieldCipher(KEY).encrypt(text, place, nonce)
    assert sealed.isascii()
    assert FieldCipher(KEY).decrypt(sealed, place) == text
    assert FieldCipher(OTHER, [KEY]).decrypt(sealed, place) == text


@pytest.mark.parametrize(
    ("seal", "place"),
    [
        (FieldCipher(OTHER), PLACE),
        (FieldCipher(), PLACE),
        (FieldCipher(KEY), "endpoints.url:ep_2"),
        (FieldCipher(KEY), ""),
    ],
)
def test_ciphertexts_need_their_key_and_associated_data(seal: FieldCipher, place: str) -> None:
    """Without the key, with another one, or in another row or column they can't be decrypted."""
    sealed = FieldCipher(KEY).encrypt("https://hooks.slack.com/services/T0/B0/x", PLACE, NONCE)
    with pytest.raises(DecryptionError):
        seal.decrypt(sealed, place)


@given(st.integers(min_value=0), st.sampled_from("AZaz09-_"))
def test_changed_ciphertexts_are_refused(at: int, letter: str) -> None:
    """A ciphertext with a changed character is refused, or still has the same bytes."""
    sealed = FieldCipher(KEY).encrypt("a secret", PLACE, NONCE)
    body = len("v1:01234567:")
    at = body + at % (len(sealed) - body - 1)
    if sealed[at] == letter:
        return
    with pytest.raises(DecryptionError):
        FieldCipher(KEY).decrypt(sealed[:at] + letter + sealed[at + 1 :], PLACE)


@pytest.mark.parametrize("cut", [1, 5, 20, 30])
def test_truncated_ciphertexts_are_refused(cut: int) -> None:
    """Half a ciphertext is refused, and nothing crashes."""
    sealed = FieldCipher(KEY).encrypt("a secret", PLACE, NONCE)
    with pytest.raises(DecryptionError):
        FieldCipher(KEY).decrypt(sealed[: len(sealed) - cut], PLACE)


def test_a_ciphertext_reveals_neither_text_nor_key() -> None:
    """Neither is in it, nor in the repr; the same text with another nonce has another ciphertext."""
    seal = FieldCipher(KEY, [OTHER])
    sealed = seal.encrypt("hunter2hunter2", PLACE, NONCE)
    assert "hunter2" not in sealed
    assert KEY not in sealed + repr(seal)
    assert sealed != seal.encrypt("hunter2hunter2", PLACE, bytes(NONCE_BYTES))


@given(texts.filter(lambda text: not text.startswith("v1:")))
def test_plain_text_is_read_without_a_key_or_if_allowed(text: str) -> None:
    """A store from before there was a key can be encrypted; otherwise a key refuses plain text."""
    assert FieldCipher().decrypt(text, PLACE) == text
    assert FieldCipher(old=[KEY]).decrypt(text, PLACE) == text
    assert FieldCipher(KEY).decrypt(text, PLACE, allow_plain=True) == text
    with pytest.raises(DecryptionError):
        FieldCipher(KEY).decrypt(text, PLACE)
    assert FieldCipher().encrypt(text, PLACE, NONCE) == text


def test_a_fingerprint_needs_the_key() -> None:
    """With a key, a fingerprint is no plain hash, and differs by key; all of them match."""
    plain = hashlib.sha256(b"https://example.com/").hexdigest()
    new, old = (
        FieldCipher(KEY).fingerprints("https://example.com/"),
        FieldCipher(OTHER).fingerprints("https://example.com/"),
    )
    assert FieldCipher().fingerprints("https://example.com/") == (plain,)
    assert len({plain, *new, *old}) == 3
    both = FieldCipher(KEY, [OTHER])
    assert both.fingerprints("https://example.com/") == (*new, *old)
    assert all(both.matches_fingerprint(mark, "https://example.com/") for mark in (plain, *new, *old))
    assert not both.matches_fingerprint(plain, "https://example.com/other")


def test_old_ciphertexts_stay_readable() -> None:
    """The format of ciphertexts and the derivation of keys are fixed."""
    sealed = "v1:9c195b35:AAECAwQFBgcICQoL2z1zv6uWWP24MqeZgfBiCvnD-CcUrXFq"
    assert FieldCipher(KEY).encrypt("a secret", PLACE, NONCE) == sealed
