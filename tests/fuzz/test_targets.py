"""The fuzz targets run, find nothing in a short run, and are quick on long inputs."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.all_targets import TARGETS
from tests.fuzz.target import Target

LONG = (
    b"{{",
    b"{{ a(",
    b"[",
    b"{",
    b'{"a":',
    b'"\\ud83d',
    b"a",
    b"1",
    b" ",
    b"\n",
    b"- ",
    b"a: ",
    b"a.",
    b"%",
    b"=",
    b"a@",
    b"\xff",
)
"""What is repeated up to the longest input that a target takes."""


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_a_parser_raises_only_what_it_declares(target: Target) -> None:
    """Whatever comes, a parser takes or refuses it, in the way it says."""
    for seed in target.seeds:
        target.once(seed)
    seeds = st.sampled_from(target.seeds)
    cut = st.builds(lambda one, other, at: one[:at] + other, seeds, st.binary(max_size=20), st.integers(0, 200))
    inserted = st.builds(
        lambda one, other, at: one[:at] + other + one[at:], seeds, st.binary(max_size=20), st.integers(0, 200)
    )
    joined = st.builds(lambda one, other, at: one[:at] + other[at:], seeds, seeds, st.integers(0, 200))

    @settings(max_examples=60, deadline=None)
    @given(st.binary(max_size=200) | cut | inserted | joined | st.text(max_size=50).map(encoded))
    def try_it(data: bytes) -> None:
        target.once(data)

    try_it()


def encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


@pytest.mark.long
@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_a_long_input_is_parsed_in_time(target: Target) -> None:
    """No pattern of repetition makes a parser hang: the time grows with the length, not with its square."""
    for part in LONG:
        for end in (b"", b"\x00", b"!"):
            for start in (b"", b"\x00", *(seed[:12] for seed in target.seeds[:3])):
                began = time.process_time()
                target.once(start + part * (target.longest // len(part)) + end)
                assert time.process_time() - began < 2, (part, start, end)


def test_an_undeclared_error_is_reported() -> None:
    """An exception that is not declared gets out of a target; a declared one does not."""

    def broken(data: bytes) -> None:
        raise KeyError if data else ValueError

    target = Target("broken", broken, (ValueError,))
    target.once(b"")
    with pytest.raises(KeyError):
        target.once(b"x")
