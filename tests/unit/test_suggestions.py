"""Suggestions for unknown names."""

from relay.suggestions import did_you_mean, did_you_mean_or_list


def test_a_close_name_is_suggested() -> None:
    """With its own spelling, whatever the case of the input."""
    assert did_you_mean("intervall", ["interval", "tick"]) == '; did you mean "interval"?'
    assert did_you_mean("HOOKURL", ["url", "hookUrl"]) == '; did you mean "hookUrl"?'
    assert did_you_mean("zzz", ["interval", "tick"]) == did_you_mean("", []) == ""


def test_without_a_close_name_all_are_listed() -> None:
    """In the given order; nothing is suggested if there are none."""
    assert did_you_mean_or_list("zzz", ["interval", "tick"]) == "; there is interval, tick"
    assert did_you_mean_or_list("zzz", []) == ""


def test_a_long_text_is_compared_by_its_beginning() -> None:
    """Only its beginning is compared."""
    assert did_you_mean("interval" + "x" * 10**6, ["interval"]) == ""
