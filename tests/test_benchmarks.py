"""The benchmark of polling says what it found and where it fails; no schedule beats its judge; its page holds."""

import random
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import held, polling, tables
from benchmarks.laws import LAWS, MAX_AGE, judge
from benchmarks.optimum import Optimum
from benchmarks.tables import Check, Report, Table

PAGE = Path(__file__).parent.parent / "docs" / "polling.md"
OPTIMUM = Optimum(LAWS[1], (2.0, 6.0))


def test_the_quick_form_prints_its_rows_and_all_of_them_hold(capsys: pytest.CaptureFixture[str]) -> None:
    """Both laws in each table, the seeds, and nothing that fails."""
    assert polling.main(["--quick", "--only", "laws"]) == 0
    printed = capsys.readouterr().out
    assert "seeds 1 2" in printed
    for law in (LAWS[1].name, LAWS[5].name):
        assert printed.count(f"\n| {law} ") == 4
        assert f"| after 100 jobs: {law} " in printed
    assert " pass |" in printed
    assert "0 of 9 checks failed" in printed


def test_what_fails_is_said_and_why() -> None:
    """A check that fails is marked and explained."""
    text = Report([], [Check("this", "1.0", "1.1", False, "it is hard")]).text()
    assert "| this |     1.0 |      1.1 |  FAIL |" in text
    assert "FAIL, this: it is hard" in text


@given(st.lists(st.floats(1, 3_000), min_size=1, max_size=8))
@settings(max_examples=200)
def test_no_schedule_beats_the_optimum(ages: list[float]) -> None:
    """Whatever the ages of the looks, their delay is not below the least there is for so many."""
    looks, delay = judge(LAWS[1], sorted(ages))
    assert delay >= OPTIMUM.delay(looks) * 0.999


def test_the_judge_agrees_with_a_draw() -> None:
    """Looks and delay of a schedule, exactly reckoned, are those of thousands of jobs drawn from the law."""
    law, ages, rng = LAWS[7], [200.0, 300.0, 400.0, 700.0, 3_000.0, MAX_AGE], random.Random(1)
    spent, late, ended = 0, 0.0, 0
    for _ in range(20_000):
        took = law.sample(rng)
        seen = next((k for k, age in enumerate(ages) if took is not None and took <= age), len(ages) - 1)
        spent += seen + 1
        if took is not None:
            late, ended = late + ages[seen] - took, ended + 1
    looks, delay = judge(law, ages)
    assert looks == pytest.approx(spent / 20_000, rel=0.02)
    assert delay == pytest.approx(late / ended, rel=0.03)


def test_a_report_goes_between_its_marks_and_nowhere_else() -> None:
    """What stands around the marks stays; what stood between them is replaced; a page without them is refused."""
    report = Report([Table("T", ("law", "2"), [["σ", "1.0"]])])
    page = tables.rewritten("a\n<!-- laws -->old<!-- end of laws -->\nb\n", {"laws": report})
    assert page == f"a\n<!-- laws -->\n\n{report.text()}\n\n<!-- end of laws -->\nb\n"
    with pytest.raises(ValueError, match="no place for days"):
        tables.rewritten(page, {"days": report})


def test_a_quick_run_is_not_written_down(capsys: pytest.CaptureFixture[str]) -> None:
    """`--quick` measures too little for the page, and says so."""
    with pytest.raises(SystemExit):
        polling.main(["--quick", "--write-docs"])
    assert "too little to be written down" in capsys.readouterr().err


def test_the_case_to_check_by_hand_is_right() -> None:
    """The program on the page does what the page says."""
    program = PAGE.read_text("utf-8").split("```python\n")[1].split("```")[0]
    assert "assert least(20) == (35, 60)" in program
    exec(program, {})  # noqa: S102


def test_the_page_has_what_was_measured() -> None:
    """Every law and every history has its rows, each line that is held to its verdict."""
    page = PAGE.read_text("utf-8").split("<!-- laws -->")[1].split("<!-- end of laws -->")[0]
    for law in LAWS:
        assert page.count(f"\n| {law.name} ") == 4
        assert f"| law known: {law.name} " in page
    assert page.count(" pass |") > 40


def test_the_plot_is_an_image_with_a_title_and_all_its_curves() -> None:
    """Well-formed, named for who can't see it, one path with its name for each who looks."""
    root = ElementTree.parse(PAGE.with_suffix(".svg")).getroot()  # noqa: S314
    names = [one.text for one in root.iter("{http://www.w3.org/2000/svg}title")]
    assert names[0] == "How late the end is heard of, by looks a job"
    assert {"the optimum", "the relay, after 100 jobs", "fixed interval"} <= set(names)
    assert root.get("role") == "img"
    assert root.find("{http://www.w3.org/2000/svg}desc") is not None


def test_every_law_that_is_held_to_something_is_measured() -> None:
    """The limits name laws that there are."""
    assert set(held.AFTER_100) <= {law.name for law in LAWS}


def test_a_quick_day_prints_its_rows_and_all_of_them_hold(capsys: pytest.CaptureFixture[str]) -> None:
    """The relay beside a fixed interval, within Exec's limits: no 429 of its own, nobody forgotten, less delay."""
    assert polling.main(["--quick", "--only", "days"]) == 0
    printed = capsys.readouterr().out
    assert "| the relay " in printed
    assert "| every 15 s " in printed
    assert "0 of 3 checks failed" in printed
