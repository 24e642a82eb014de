"""Claims as data: a bound checks and prints itself, a control is rejected or not, files old and new are read."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynamics.analysis.bounds import (
    FAILS,
    HOLDS,
    INCONCLUSIVE,
    UNKNOWN,
    above,
    at_least,
    at_most,
    below,
    equal_up_to,
    near,
    ordered,
    require_also,
    within,
)
from dynamics.analysis.claim_pages import format_markdown
from dynamics.analysis.claims import Claim, judge, sort_by_paper
from dynamics.analysis.controls import (
    NOT_REJECTED,
    REJECTED,
    SAYS_NOTHING,
    compare,
    permute,
    scale_neighbour,
    shift_neighbour,
)
from dynamics.analysis.intervals import Estimate
from dynamics.analysis.seed_values import median_over_seeds
from dynamics.errors import InputError
from dynamics.study.claim_list import ClaimList

NUMBERS = re.compile(r"[-+]?\d+(?:\.\d*)?(?:e[-+]?\d+)?")
bounds = st.floats(-1e6, 1e6).map(lambda x: float(f"{x:.4g}"))


def printed(bound) -> list[float]:
    return [float(number) for number in NUMBERS.findall(str(bound))]


@given(bounds, bounds, st.sampled_from([False, True]))
def test_the_ends_of_a_window_are_printed(low, high, is_open):
    assert printed(within(low, high, of="slope", open=is_open)) == [low, high]


@given(bounds, st.sampled_from([above, at_least, below, at_most]))
def test_a_one_sided_bound_is_printed_and_is_the_one_that_is_checked(bound, shape):
    expects = shape(bound, of="slope")
    assert printed(expects) == [bound] and str(expects).startswith("slope ")
    sides = [expects.judge(float(np.nextafter(bound, end))) for end in (-np.inf, np.inf)]
    assert sides == ([FAILS, HOLDS] if shape in (above, at_least) else [HOLDS, FAILS])
    assert expects.judge(bound) == (HOLDS if shape in (at_least, at_most) else FAILS)


@given(bounds, st.floats(1e-6, 0.9).map(lambda x: float(f"{x:.3g}")), st.sampled_from([False, True]))
def test_centre_and_tolerance_are_printed_and_checked(centre, tolerance, relative):
    expects = near(centre, tolerance, of="slope", relative=relative)
    assert printed(expects) == pytest.approx([100 * tolerance if relative else tolerance, centre], rel=1e-5)
    reach = tolerance * abs(centre) if relative else tolerance
    assert expects.judge(centre) == HOLDS
    assert [expects.judge(centre + sign * (1.01 * reach + 1e-9)) for sign in (-1, 1)] == [FAILS, FAILS]


def test_rounding_is_allowed_on_both_sides_and_printed():
    expects = equal_up_to(1e-9, of="difference")
    assert printed(expects) == [1e-9]
    assert [expects.judge(x) for x in (0.0, 1e-9, -1e-9, 2e-9, -2e-9)] == [HOLDS] * 3 + [FAILS] * 2


def test_an_order_is_strict():
    expects = ordered(of="area over alpha")
    assert "area over alpha" in str(expects) and printed(expects) == [0]
    assert [expects.judge(step) for step in (1e-300, 0.0, -1.0)] == [HOLDS, FAILS, FAILS]


@pytest.mark.parametrize(
    "estimate, verdict",
    [
        (Estimate(0.5, 0.2, 0.8), HOLDS),
        (Estimate(0.5, 0.0, 1.0), HOLDS),
        (Estimate(0.5, -0.1, 0.8), INCONCLUSIVE),
        (Estimate(0.5, 0.2, 1.1), INCONCLUSIVE),
        (Estimate(0.5, -1.0, 2.0), INCONCLUSIVE),
        (Estimate(1.5, 0.9, 2.0), INCONCLUSIVE),
        (Estimate(1.5, 1.1, 2.0), FAILS),
        (Estimate(-1.0, -2.0, -0.1), FAILS),
        (Estimate(0.5, np.nan, np.nan), INCONCLUSIVE),
        (Estimate(1.5, np.nan, np.nan), INCONCLUSIVE),
        (UNKNOWN, INCONCLUSIVE),
    ],
)
def test_the_whole_interval_must_lie_on_one_side(estimate, verdict):
    assert within(0, 1, of="x").judge(estimate) == verdict


@pytest.mark.parametrize(
    "estimate, is_above, is_below",
    [
        (Estimate(1.0, 0.9, 1.2), HOLDS, FAILS),
        (Estimate(-1.0, -1.2, -0.9), FAILS, HOLDS),
        (Estimate(0.1, -3.0, 2.0), INCONCLUSIVE, INCONCLUSIVE),
        (Estimate(0.0, 0.0, 0.0), FAILS, FAILS),
        (Estimate(0.5, 0.0, 1.0), INCONCLUSIVE, FAILS),
        (Estimate(1.0, np.nan, np.nan), INCONCLUSIVE, INCONCLUSIVE),
    ],
)
def test_signs_need_the_whole_interval(estimate, is_above, is_below):
    assert (above(0, of="x").judge(estimate), below(0, of="x").judge(estimate)) == (is_above, is_below)


@pytest.mark.parametrize("value, verdict", [(0.0, HOLDS), (1.0, HOLDS), (1.0001, FAILS), (-1e-9, FAILS), (np.nan, FAILS)])
def test_a_number_without_sampling_error_holds_or_fails(value, verdict):
    assert within(0, 1, of="x").judge(value) == verdict


def test_a_broken_side_condition_fails_whatever_was_measured():
    for measured in (0.5, Estimate(0.5, 0.4, 0.6), UNKNOWN):
        assert within(0, 1, of="x").judge(require_also(measured, False)) == FAILS
    assert within(0, 1, of="x").judge(require_also(0.5, True)) == HOLDS


UNIT = within(0, 1, of="x")


def judged(on, control, expects=UNIT, **more) -> Claim:
    evidence = compare(lambda estimate: estimate, on, treatment={"the control": control})
    return judge(id="id", source="source", statement="statement", expects=expects, evidence=evidence, **more)


INSIDE, OUTSIDE, ACROSS = Estimate(0.5, 0.4, 0.6), Estimate(3.0, 2.0, 4.0), Estimate(1.0, 0.5, 1.5)


@pytest.mark.parametrize(
    "on, control, verdict, outcome",
    [
        (INSIDE, OUTSIDE, HOLDS, REJECTED),
        (INSIDE, Estimate(0.3, 0.2, 0.4), INCONCLUSIVE, NOT_REJECTED),  # a check that cannot fail shows nothing
        (INSIDE, ACROSS, INCONCLUSIVE, NOT_REJECTED),  # nor does one of which nobody knows whether it can
        (INSIDE, UNKNOWN, INCONCLUSIVE, SAYS_NOTHING),
        (INSIDE, math.nan, INCONCLUSIVE, SAYS_NOTHING),
        (INSIDE, Estimate(0.5, 0.4, 0.6), INCONCLUSIVE, SAYS_NOTHING),  # the same numbers once more
        (INSIDE, 1.0, INCONCLUSIVE, SAYS_NOTHING),  # a ratio of a thing with itself
        (Estimate(1.5, 1.2, 1.9), 0.0, FAILS, SAYS_NOTHING),
        (OUTSIDE, INSIDE, FAILS, NOT_REJECTED),
        (OUTSIDE, Estimate(5.0, 4.0, 6.0), FAILS, REJECTED),
        (ACROSS, OUTSIDE, INCONCLUSIVE, REJECTED),
        (ACROSS, INSIDE, INCONCLUSIVE, NOT_REJECTED),
    ],
)
def test_a_claim_holds_only_if_its_control_is_rejected(on, control, verdict, outcome):
    claim = judged(on, control)
    assert (claim.verdict, claim.control_outcome, claim.control_kind) == (verdict, outcome, "treatment")
    assert (claim.measured, claim.low, claim.high) == tuple(on)
    told = (claim.id, claim.source, claim.statement, claim.prediction, claim.control)
    assert told == ("id", "source", "statement", "x in [0, 1]", "the control")


@pytest.mark.parametrize("seeds, verdict", [(2, INCONCLUSIVE), (4, INCONCLUSIVE), (5, HOLDS), (None, HOLDS)])
def test_below_five_seeds_nothing_holds_and_nothing_is_rejected(seeds, verdict):
    few = [Estimate(*e, seeds=seeds, level=0.9, left_out=2) for e in (INSIDE, OUTSIDE)]
    claim = judged(*few)
    assert (claim.verdict, claim.seeds, claim.level, claim.left_out) == (verdict, seeds or 0, 0.9, 2)
    assert judged(INSIDE, few[1]).verdict == verdict
    assert judged(few[1], INSIDE).verdict == (FAILS if verdict == HOLDS else INCONCLUSIVE)
    assert judged(require_also(few[0], False), OUTSIDE).verdict == FAILS  # a broken side condition is no matter of seeds


@pytest.mark.parametrize(
    "expects, caught",
    [(within(0, 1, of="x"), 0.4), (at_most(0.7, of="x"), 0.1), (at_least(0.35, of="x"), 0.05), (below(0.5, of="x"), None)],
)
def test_a_claim_says_the_smallest_shift_that_it_would_have_caught(expects, caught):
    claim = judged(INSIDE, OUTSIDE, expects)
    assert claim.catches == ("" if caught is None else f"a shift of {caught:g}")
    assert np.isnan(claim.margin) if caught is None else claim.margin == pytest.approx(caught)
    assert judged(INSIDE, OUTSIDE, catches="g off by 10 %", margin=1.1).catches == "g off by 10 %"


def test_a_comparison_applies_one_statistic_with_the_same_options():
    assert compare(pow, (2.0, 3.0), null={"other": (3.0, 3.0)}) == (8.0, 27.0, "other", "null")
    assert compare(np.max, np.array([1.0, 2.0]), neighbour={"other": np.array([3.0])})[:2] == (2.0, 3.0)


@pytest.mark.parametrize(
    "on, control, complaint",
    [
        ((2.0, 3.0), (3.0, 2.0), "read backwards"),
        ((2.0, 3.0), (2.0, 3.0), "the very thing"),
        (UNKNOWN, UNKNOWN, "the very thing"),
        ([UNKNOWN, 1], [UNKNOWN, 1], "the very thing"),
    ],
)
def test_the_thing_itself_and_the_claim_read_backwards_are_no_controls(on, control, complaint):
    with pytest.raises(InputError, match=complaint):
        compare(lambda *parts: 0.0, on, treatment={"the other": control})


@pytest.mark.parametrize("controls", [{}, {"null": {}}, {"null": {"a": 1}, "neighbour": {"b": 2}}, {"null": {"a": 1, "b": 2}}])
def test_a_comparison_has_one_control_of_one_kind(controls):
    with pytest.raises(InputError, match=r"control = \[.*\]: must be one, as one of null, neighbour, treatment"):
        compare(lambda x: x, 0, **controls)


def test_neighbours_are_what_was_measured_as_seen_from_a_prediction_beside_it():
    slope = Estimate(-0.5, -0.53, -0.47, seeds=8)
    expects = within(-0.1, 0.1, of="slope + 1/2")
    for by, outcome in ((0.25, REJECTED), (0.05, NOT_REJECTED)):
        claim = judge(
            id="", source="", statement="", expects=expects, evidence=shift_neighbour(slope + 0.5, by, "the next exponent")
        )
        assert (claim.control_outcome, claim.control_kind) == (outcome, "neighbour")
    assert tuple(scale_neighbour(slope, 2, "twice").control) == pytest.approx((-1, -1.06, -0.94))


@pytest.mark.parametrize("effect, outcome", [(3.0, REJECTED), (0.0, REJECTED), (-3.0, REJECTED)])
def test_permuted_labels_are_rejected_at_the_rate_that_the_interval_promises(rng, effect, outcome):
    """Whatever the effect, labels exchanged at random within seeds give a difference above 0 in few permutations."""
    table = rng.normal(size=(9, 2)) + np.array([effect, 0])
    evidence = permute(lambda t: median_over_seeds(t[:, 0] - t[:, 1]), table)
    claim = judge(id="", source="", statement="", expects=above(0, of="difference"), evidence=evidence)
    assert (claim.control_outcome, claim.control_kind) == (outcome, "null")
    assert claim.verdict == (HOLDS if effect > 0 else claim.verdict)
    loose = judge(id="", source="", statement="", expects=above(-99, of="difference"), evidence=evidence)
    assert (loose.verdict, loose.control_outcome) == (INCONCLUSIVE, NOT_REJECTED)  # a bound that anything meets
    unknown = permute(lambda t: median_over_seeds(t[:, 0] - t[:, 1]), np.full((9, 2), np.nan))
    assert judge(id="", source="", statement="", expects=above(0, of="x"), evidence=unknown).control_outcome == SAYS_NOTHING


def test_claims_are_keywords_only():
    with pytest.raises(TypeError):
        judge("id", "source", "statement", within(0, 1, of="x"), judged)  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        Claim("id", "source")  # type: ignore[call-arg]


def sourced(id: str, source: str, verdict: str = HOLDS, **more) -> Claim:
    told = {"statement": "a | b", "prediction": "x < 1", "measured": 0.5, "low": math.nan, "high": math.nan}
    control = {"control": "none", "control_measured": 2.0, "control_outcome": REJECTED}
    return Claim(**{"id": id, "source": source, "verdict": verdict, "seconds": 3.25, **told, **control, **more})


def test_claims_are_sorted_by_paper_the_core_papers_first():
    claims = [
        sourced("c", "Lewkowycz et al. 2020, eq. 4"),
        sourced("b", "Liang et al. 2025, Figure 4"),
        sourced("a", "Cohen et al. 2021"),
        sourced("d", "Liang et al. 2025, Theorem 3.2"),
    ]
    assert [c.id for c in sort_by_paper(claims)] == ["b", "d", "a", "c"]
    assert claims[0].paper == "Lewkowycz et al. 2020"
    assert sourced("e", "Liang et al. 2026b, experiment X2").paper == "Liang et al. 2026b"


def test_the_claims_page_keeps_what_fails_and_escapes_bars():
    first = sourced("a/b", "Liang et al. 2025, Figure 4", FAILS, seeds=8, level=0.95, low=0.4, high=0.6, left_out=1)
    page = format_markdown([first, sourced("c/d", "Cohen et al. 2021", INCONCLUSIVE, post_hoc="the horizon")])
    assert "2 claims: 0 holds, 1 fails, 1 inconclusive" in page
    assert page.index("## Liang et al. 2025") < page.index("## Cohen et al. 2021") < page.index("# Details")
    assert "| `a/b` | a \\| b | x < 1 | 0.5 [0.4, 0.6] | **fails** |" in page
    assert "| `a/b` | Figure 4 | 0.5 [0.4, 0.6], fails | 8 | 95 % | 1 | none | 2, rejected | - | - | 3.25 |" in page
    assert "| the horizon |" in page
    rows = [line.replace("\\|", "").count("|") for line in page.splitlines() if line.startswith("|")]
    assert set(rows) == {6, 12}


def test_a_theorem_that_many_experiments_check_is_one_row_with_its_worst_slack_and_its_sharpest_check():
    slacks = {"rates/c1": (0.3, 1.9), "depth/c1": (0.1, 2.5), "toy/c1": (math.nan, math.nan)}
    claims = [
        sourced(id, "Liang et al. 2025", theorem="C1: one-sided", measured=m, margin=f, catches=f"g times {f}")
        for id, (m, f) in slacks.items()
    ]
    page = format_markdown([*claims, sourced("a/b", "Liang et al. 2025")])
    (row,) = [line for line in page.splitlines() if line.startswith("| C1: one-sided")]
    assert "| 3 holds | 0.1 in `depth/c1` | g times 1.9 in `rates/c1` |" in row
    main, details = page.split("# Details")
    assert "| `rates/c1`" not in main and "| `rates/c1`" in details and "| `a/b` | a" in main


def test_claims_show_themselves_as_text_and_in_a_notebook():
    claims = ClaimList([sourced("a/b", "Liang et al. 2025", FAILS), sourced("c<d", "Cohen et al. 2021")])
    header, *rows = repr(claims).splitlines()[1:]
    assert repr(claims).startswith("2 claims: 1 holds, 1 fails, 0 inconclusive.")
    assert header.split() == ["id", "prediction", "measured", "verdict", "control"]
    assert rows[0].index("fails") == rows[1].index("holds") == header.index("verdict")
    shown = claims._repr_html_()
    assert shown.count("<tr>") == 6 and "c&lt;d" in shown and "2, rejected" in shown
    assert [c.id for c in claims] == ["a/b", "c<d"]
    assert repr(ClaimList([])).startswith("0 claims") and "0 claims" in ClaimList([])._repr_html_()
