"What scores and outcomes say: intervals, maturity, the level, estimates without outcomes."

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit

from creditrisk.assess import intercept_update
from creditrisk.load import Column, Portfolio
from creditrisk.performance import SCORE, decisions, estimate, expected_auc, expected_range, mature_until, performance_record, plot_level, plot_order, quality, recalibration, record_of, shifted

LENDER = Portfolio("lender", {"day": Column("day", "date"), "paid": Column("paid", "category", known="outcome")}, "paid", "1", date="day")


def made(n: int, *, shift: float = 0.0, seed: int = 0, start: str = "2025-01-01") -> pd.DataFrame:
    "Loans whose scores are right but for a shift of the log-odds, an hour apart."
    chance = np.random.RandomState(seed)
    right = expit(-2.8 + chance.standard_normal(n))
    return pd.DataFrame({"day": pd.date_range(start, periods=n, freq="h"), "bad": (chance.random_sample(n) < right).astype(float), SCORE: shifted(right, shift)})


def months(loans: pd.DataFrame) -> dict[str, pd.DataFrame]:
    return {str(m): part for m, part in loans.groupby(loans["day"].dt.to_period("M"))}


def test_quality_agrees_with_sklearn():
    from sklearn import metrics as m

    loans = made(3000)
    found = quality(loans)
    assert np.isclose(found["auc"], m.roc_auc_score(loans["bad"], loans[SCORE]), atol=1e-6) and np.isclose(found["brier"], m.brier_score_loss(loans["bad"], loans[SCORE]), atol=1e-6)
    assert found["auc_low"] < found["auc"] < found["auc_high"] and found["low"] < found["observed"] < found["high"] and np.isclose(found["gini"], 2 * found["auc"] - 1, atol=1e-5)


@given(st.lists(st.floats(0.001, 0.999), min_size=2, max_size=30))
@settings(deadline=None, max_examples=80)
def test_expected_auc_is_the_sum_over_pairs(p):
    p = np.array(p)
    weight = np.outer(p, 1 - p) * (1 - np.eye(len(p)))
    wins = (p[:, None] > p[None, :]) + (p[:, None] == p[None, :]) / 2
    assert np.isclose(expected_auc(p), (weight * wins).sum() / weight.sum(), atol=1e-9)


def test_the_range_of_the_estimate_holds_what_happens():
    "With right probabilities 95 % of the realised AUC fall into the range; 40 draws allow for six outside."
    right = expit(-2.8 + np.random.RandomState(1).standard_normal(2000))
    low, high = expected_range(right)
    chance = np.random.RandomState(2)
    drawn = [quality(pd.DataFrame({"bad": (chance.random_sample(2000) < right).astype(float), SCORE: right}))["auc"] for _ in range(40)]
    assert low < expected_auc(right) < high and sum(low <= a <= high for a in drawn) >= 34


def test_the_range_of_equal_scores_is_a_point_and_many_levels_cost_no_order():
    assert expected_range(np.full(5000, 0.1)) == (0.5, 0.5)
    few = np.repeat([0.01, 0.05, 0.2, 0.5], 1500)
    low, high = expected_range(few)
    assert low < expected_auc(few) < high and high - low < 0.06
    many = expit(-2.8 + np.random.RandomState(1).standard_normal(30_000))
    assert np.allclose(expected_range(many, groups=500), expected_range(many, groups=30_000), atol=0.004)


def test_estimates_without_outcomes_use_the_level_known_before():
    then, now = made(4000, shift=0.7), made(4000, shift=0.7, seed=3, start="2025-07-01")
    blind = estimate(now.assign(bad=np.nan), then, [])
    assert abs(blind["bad_rate"] - now["bad"].mean()) < 0.012 < abs(now[SCORE].mean() - now["bad"].mean())


def test_the_record_of_estimates_never_looks_ahead():
    loans = made(6000)
    record = record_of(months(loans), LENDER)
    changed = loans.assign(bad=loans["bad"].where(loans["day"] < "2025-08-01", 1.0))
    again = record_of(months(changed), LENDER)
    until_july = [r for r in record if r["period"] < "2025-08"]
    assert until_july == [r for r in again if r["period"] < "2025-08"] and until_july
    assert next(r for r in again if r["period"] == "2025-08")["estimated"] == next(r for r in record if r["period"] == "2025-08")["estimated"]
    slow = record_of(months(loans), LENDER, 2), record_of(months(changed), LENDER, 2)
    assert [r["estimated"] for r in slow[0]] == [r["estimated"] for r in slow[1]] and slow[0][0]["period"] > record[0]["period"], "outcomes of two months ago are the newest"


def test_maturity_leaves_out_young_outcomes():
    loans = made(6000)
    until = mature_until(loans, LENDER, 3)
    found = performance_record(loans[:3000], loans[3000:], months(loans), LENDER, 3)
    assert found["current"]["n"] == (loans["day"][3000:] <= until).sum() and [p["mature"] for p in found["periods"]] == [bool((part["day"] <= until).all()) for part in months(loans).values()]
    assert [d["mature"] for d in decisions(months(loans), LENDER, until)] == [p["mature"] for p in found["periods"]]
    assert mature_until(loans, LENDER, 0) is None and mature_until(loans.drop(columns="day"), LENDER, 3) is None


def test_an_update_of_the_intercept_is_offered_only_where_it_helps():
    off, fine = recalibration(made(6000, shift=0.6)), recalibration(made(6000))
    assert off["advised"] and abs(off["shift"] + 0.6) < 0.15 and off["log_loss_after"] < off["log_loss_before"] and off["judged"]["unseen"] and off["expected"] > off["high"]
    assert not fine["advised"] and recalibration(made(200)) is None
    loans = made(6000, shift=0.6)
    same = intercept_update(loans["bad"].to_numpy(), loans[SCORE].to_numpy(), np.ones(6000), {"lgd": 0.6, "margin": 0.08})
    assert np.isclose(off["oe_after"], same.loc["updated", "oe"], atol=1e-5), "the assessment of training says the same"


def test_few_bads_in_either_half_are_judged_where_they_were_fitted_and_it_is_said():
    found = recalibration(made(700, shift=0.9, seed=5))
    assert found is not None and found["judged"]["unseen"] is False and found["judged"]["n"] == 700


@pytest.mark.parametrize("loans", [made(400).assign(bad=np.nan), made(400).assign(bad=0.0), made(400).drop(columns="bad")], ids=["unknown", "no bads", "no column"])
def test_without_outcomes_there_is_an_estimate_and_nothing_else(loans):
    found = performance_record(loans[:200], loans[200:], months(loans), LENDER)
    assert found["bands"] == [] and found["intercept"] is None and found["current"]["auc"] is None and 0 < found["estimate"]["bad_rate"] < 1
    assert plot_order(found["periods"]).get_title(loc="left") and plot_level(found["periods"]).get_title(loc="left")


def test_without_a_score_there_is_nothing_to_say():
    loans = made(100)
    assert performance_record(loans.drop(columns=SCORE), loans, {}, LENDER) is None


def test_probabilities_at_the_ends_stay_finite():
    ends = np.array([0.0, 1.0, 0.5])
    assert np.isfinite(logit(np.clip(shifted(ends, 1.0), 1e-12, 1 - 1e-12))).all() and 0 <= expected_auc(ends) <= 1
