"""What was probably meant."""

from relay.suggestions import did_you_mean, did_you_mean_or_list


def test_what_is_close_is_named() -> None:
    """As it is written, whatever the case of what came."""
    assert did_you_mean("intervall", ["interval", "tick"]) == '; did you mean "interval"?'
    assert did_you_mean("HOOKURL", ["url", "hookUrl"]) == '; did you mean "hookUrl"?'
    assert did_you_mean("zzz", ["interval", "tick"]) == did_you_mean("", []) == ""


def test_else_all_that_there_is() -> None:
    """In the order given; of nothing nothing is said."""
    assert did_you_mean_or_list("zzz", ["interval", "tick"]) == "; there is interval, tick"
    assert did_you_mean_or_list("zzz", []) == ""


def test_a_long_text_costs_little() -> None:
    """Only its beginning is compared."""
    assert did_you_mean("interval" + "x" * 10**6, ["interval"]) == ""
