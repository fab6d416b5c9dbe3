"""What was probably meant."""

from relay.nearest import closest, nearest


def test_what_is_close_is_named() -> None:
    """As it is written, whatever the case of what came."""
    assert closest("intervall", ["interval", "tick"]) == '; did you mean "interval"?'
    assert closest("HOOKURL", ["url", "hookUrl"]) == '; did you mean "hookUrl"?'
    assert closest("zzz", ["interval", "tick"]) == closest("", []) == ""


def test_else_all_that_there_is() -> None:
    """In the order given; of nothing nothing is said."""
    assert nearest("zzz", ["interval", "tick"]) == "; there is interval, tick"
    assert nearest("zzz", []) == ""


def test_a_long_text_costs_little() -> None:
    """Only its beginning is compared."""
    assert closest("interval" + "x" * 10**6, ["interval"]) == ""
