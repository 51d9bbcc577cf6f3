"What holds of the assessment whatever the model: identities, published values, and answers where there is none to give."

import numpy as np
import pandas as pd
import pytest

from creditrisk.assess import (
    METRICS, approves, bands, calibration, calibration_by_month, calibration_line, corrected_error, cost_of, cutoffs, gains, intercept_update, interval, ks_statistic,
    lacking, metrics, observed_expected, plot_calibration, plot_gains, plot_observed_expected, plot_profit, plot_slices, plot_swap, profit_curve, saving, shift_of, slice_columns, slices, swap_set,
)  # fmt: skip
from creditrisk.checks import INSUFFICIENT, wilson
from creditrisk.load import Portfolio, clean, sample_loans

COSTS = {"lgd": 0.6, "margin": 0.08}


@pytest.fixture(scope="module")
def drawn() -> pd.DataFrame:
    "Loans whose true PD is known."
    draw = np.random.default_rng(1)
    pd_bad = draw.beta(1, 15, 6000)
    return pd.DataFrame(
        {"pd": pd_bad, "bad": (draw.random(6000) < pd_bad).astype(int), "amount": draw.lognormal(14, 1, 6000), "day": pd.date_range("2024-01-01", periods=6000, freq="2h")}
    )


@pytest.fixture(scope="module")
def portfolio() -> Portfolio:
    return Portfolio.load("pago_atiempo")


@pytest.fixture(scope="module")
def loans(portfolio) -> pd.DataFrame:
    return clean(sample_loans(1500), portfolio, labelled=True)[0]


def test_corrected_error_by_hand():
    "Nadeau and Bengio (2003): the variance times 1/J + n_test/n_train; 0.04 is the standard deviation of these scores, 2/5 its factor for one repeat of five folds."
    scores = [0.66, 0.70, 0.74, 0.66, 0.74, 0.70, 0.66, 0.74, 0.70, 0.70]
    variance = sum((s - 0.70) ** 2 for s in scores) / 9
    assert corrected_error(scores, 5) == pytest.approx((variance * (1 / 10 + 0.25)) ** 0.5)
    low, high = interval(scores, 5)
    assert (low + high) / 2 == pytest.approx(0.70) and (high - low) / 2 == pytest.approx(2.262157 * corrected_error(scores, 5), rel=1e-5)
    assert corrected_error(scores, 5) > np.std(scores, ddof=1) / 10**0.5


def test_metrics_of_a_constant_and_of_an_oracle(drawn):
    constant, oracle = metrics(drawn.bad, np.full(6000, 0.06)), metrics(drawn.bad, np.where(drawn.bad == 1, 0.9, 0.1))
    assert tuple(constant) == METRICS
    assert constant["auc"] == 0.5 and constant["ks"] == 0 and constant["recall"] == 1 and constant["accuracy"] == pytest.approx(1 - drawn.bad.mean())
    assert oracle["auc"] == oracle["pr_auc"] == oracle["ks"] == oracle["f1"] == 1


def test_bands_are_a_partition_by_falling_risk(drawn):
    band = bands(drawn.pd, 7)
    assert set(band) == set(range(1, 8)) and np.ptp(np.bincount(band)[1:]) <= 1
    assert (drawn.pd.groupby(band).min().to_numpy()[:-1] >= drawn.pd.groupby(band).max().to_numpy()[1:]).all()
    assert bands(np.full(4, 0.1), 2).tolist() == [1, 1, 2, 2], "equal PDs stay in order"


def test_observed_expected_adds_up(drawn):
    table = calibration(drawn.bad, drawn.pd)
    assert table["n"].sum() == 6000 and table["bads"].sum() == drawn.bad.sum()
    assert (table["expected"] * table["n"]).sum() == pytest.approx(drawn.pd.sum())
    low, high = wilson(table["bads"], table["n"])
    assert table["oe_low"].to_numpy() == pytest.approx(low / table["expected"]) and table["oe_high"].to_numpy() == pytest.approx(high / table["expected"])


def test_the_shift_puts_the_level_right(drawn):
    from scipy.special import expit, logit

    wrong = drawn.pd / 3
    shift = shift_of(drawn.bad, wrong)
    assert shift > 0.8 and expit(logit(np.clip(wrong, 1e-9, 1)) + shift).mean() == pytest.approx(drawn.bad.mean())
    odds = logit(drawn.pd.clip(0.001))
    assert calibration_line(drawn.bad, expit(2 * odds))["slope"] == pytest.approx(calibration_line(drawn.bad, expit(odds))["slope"] / 2, rel=5e-3)


def test_months_with_few_bads_have_no_slope(drawn):
    days = drawn.day.mask(drawn.index >= 5900, pd.Timestamp("2026-01-01"))
    table = calibration_by_month(drawn.bad, drawn.pd, days)
    assert table.index.is_monotonic_increasing and table["n"].sum() == 6000
    assert table.loc["2026-01", "result"] == INSUFFICIENT and np.isnan(table.loc["2026-01", "slope"]) and table["slope"].notna().any()


def test_gains_end_where_everyone_is(drawn):
    table = gains(drawn.bad, drawn.pd)
    assert table[["captured", "captured_goods"]].iloc[-1].tolist() == [1, 1]
    assert np.average(table["lift"], weights=table["n"]) == pytest.approx(1)
    assert gains(drawn.bad, drawn.pd, 6000)["ks"].max() == pytest.approx(ks_statistic(drawn.bad, drawn.pd))


def test_costs_by_hand():
    bad, amount = np.array([1, 0, 0, 1]), np.array([100.0, 50, 50, 10])
    assert cost_of(bad, np.array([True, True, False, False]), amount, COSTS) == pytest.approx(0.6 * 100 + 0.08 * 50)
    assert saving(bad, np.ones(4, dtype=bool), amount, COSTS) == 0 and saving(bad, bad == 0, amount, COSTS) == 1
    assert saving(bad, bad == 1, amount, COSTS) < 0, "the wrong way round costs more than approving everyone"
    marks = cutoffs(COSTS)
    assert marks["refuse"] == pytest.approx(0.08 / 0.68, abs=1e-6) and marks["approve"] == pytest.approx(0.75 * marks["refuse"], abs=1e-6)


def test_with_true_probabilities_the_bayes_cutoff_is_as_good_as_any(drawn):
    curve = profit_curve(drawn.bad, drawn.pd, np.ones(6000), COSTS)
    assert curve["approved"].is_monotonic_increasing and curve["saving"].iloc[-1] == pytest.approx(0)
    assert sorted(curve["role"].unique()) == ["", "approve", "refuse"]
    assert curve.loc[curve["role"] == "refuse", "saving"].iloc[0] > curve["saving"].max() - 0.03


def test_an_update_is_tried_on_loans_that_it_has_not_seen(drawn):
    too_dark = np.minimum(drawn.pd * 2, 0.99)
    table = intercept_update(drawn.bad, too_dark, np.ones(6000), COSTS)
    assert table["n"].tolist() == [3000, 3000] and table.loc["updated", "shift"] == pytest.approx(shift_of(drawn.bad[:3000], too_dark[:3000]))
    assert table.loc["updated", "saving"] > table.loc["as fitted", "saving"] and abs(table.loc["updated", "oe"] - 1) < 0.2
    other_end = drawn.bad.where(drawn.index < 3000, 1 - drawn.bad)
    assert intercept_update(other_end, too_dark, np.ones(6000), COSTS).loc["updated", "shift"] == table.loc["updated", "shift"], "outcomes of the rest don't enter"
    assert intercept_update(drawn.bad[:100], drawn.pd[:100], np.ones(100), COSTS).startswith(INSUFFICIENT)


def test_swap_sets_are_balanced(drawn):
    noisy = drawn.pd.to_numpy() * np.random.default_rng(2).lognormal(0, 0.5, 6000)
    table = swap_set(drawn.bad, noisy, drawn.pd, 0.9)
    assert table["n"].sum() == 6000 and table.loc["only champion approves", "n"] == table.loc["only challenger approves", "n"]
    assert table.loc["only challenger approves", "rate"] < table.loc["only champion approves", "rate"], "the truth swaps in better loans"
    assert approves(drawn.pd, 0.9).sum() == 5400 and drawn.pd[approves(drawn.pd, 0.9)].max() <= drawn.pd[~approves(drawn.pd, 0.9)].min()


def test_slices_partition_the_loans(loans, portfolio):
    pd_bad = np.random.default_rng(0).beta(1, 15, len(loans))
    table = slices(loans, portfolio, pd_bad, 0.1)
    columns = slice_columns(loans, portfolio)
    assert columns[0] == portfolio.amount and list(table.index.unique("column")) == columns
    assert {c.name for c in portfolio.columns.values() if c.type == "category" and c.known == "application"} <= set(columns)
    assert (table.groupby("column")["n"].sum() == len(loans)).all() and (table.groupby("column")["bads"].sum() == loans["bad"].sum()).all()
    thin = table["result"] == INSUFFICIENT
    assert thin.any() and table.loc[thin, "auc"].isna().all() and table.loc[~thin, "auc"].notna().all() and (table.loc[~thin, "bads"] >= 20).all()


def test_what_does_not_apply_says_so():
    bare = Portfolio.from_dict({"schema": 1, "name": "bare", "label": {"en": "Bare"}, "target": "y", "good": "0", "columns": {"y": {"type": "category", "levels": ["0", "1"]}}})
    assert lacking(bare, "date", "amount") == "not applicable: the portfolio has no date and no amount"
    assert lacking(Portfolio.load("pago_atiempo"), "date", "amount") == ""


def test_plots_draw_on_the_axes_given(drawn, loans, portfolio):
    from matplotlib.figure import Figure

    table = calibration(drawn.bad, drawn.pd)
    curve, sides = profit_curve(drawn.bad, drawn.pd, drawn.amount, COSTS), swap_set(drawn.bad, drawn.pd, drawn.pd, 0.9)
    parts = slices(loans, portfolio, np.full(len(loans), 0.05), 0.1, columns=[portfolio.amount])
    draws = [lambda ax: plot_calibration(table, ax=ax), lambda ax: plot_observed_expected(table, ax=ax), lambda ax: plot_gains(gains(drawn.bad, drawn.pd), ax=ax)]
    draws += [lambda ax: plot_profit(curve, ax=ax), lambda ax: plot_swap(sides, ax=ax), lambda ax: plot_slices(parts, portfolio, ax=ax)]
    draws += [lambda ax: plot_profit("not applicable: no amount", ax=ax), lambda ax: plot_observed_expected("not applicable: no date", ax=ax)]
    for draw in draws:
        ax = Figure().subplots()
        assert draw(ax) is ax


def test_groups_of_any_kind(drawn):
    table = observed_expected(drawn.bad, drawn.pd, np.where(drawn.amount > drawn.amount.median(), "large", "small"))
    assert table.index.tolist() == ["large", "small"] and table["n"].tolist() == [3000, 3000]
