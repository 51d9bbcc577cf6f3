"""Contracts of the EDA: its figures, the leak gate, any portfolio, plain JSON."""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, mannwhitneyu, spearmanr
from sklearn.metrics import roc_auc_score

from creditrisk import checks as gatekeeping
from creditrisk.checks import FAIL, INSUFFICIENT, NOT_APPLICABLE, PASS, auc, blocking, gate, held_out_auc, levels_of, refuse_blocked, wilson
from creditrisk.eda import (
    auc_interval, binned, binned_numbers, by_month, correlations, describe, drift, explore, findings, information_noise, information_value, maturity,
    pairs, plain, power, rates,
)  # fmt: skip
from creditrisk.load import DataError, Portfolio, as_reported, clean, read_loans, sample_loans, with_derived
from creditrisk.plots import GOOD, axis_of, grid, plot_correlations, plot_information, plot_levels, plot_numbers, plot_pair, plot_power, plot_rates, short

ROOT = Path(__file__).parents[1]
SEED = Path(os.environ.get("CREDITRISK_SEED", ROOT.parent / "shared" / "data" / "seed")) / "Base_de_datos.csv"
UCI = ROOT.parent / "shared" / "data" / "uci_credit_card.csv"
AS_OF = pd.Timestamp("2026-12-31")

TOY = """
schema = 1
name = "toy"
target = "paid"
good = "yes"
date = "day"
[columns.day]
type = "date"
[columns.client]
type = "id"
[columns.branch]
type = "category"
[columns.income]
type = "money"
min = 100
outside = "missing"
codes = {0 = "not declared"}
sign = -1
[columns.debt]
type = "money"
sign = 1
[columns.late]
type = "count"
[columns.paid]
type = "category"
levels = ["yes", "no"]
known = "outcome"
[derived.burden]
expression = "debt / income"
type = "ratio"
[[rules]]
name = "debt below income"
check = "debt <= income"
action = "warn"
"""


def portfolio(text: str = TOY) -> Portfolio:
    return Portfolio.from_dict(tomllib.loads(text))


def toy_loans(n: int = 600, seed: int = 0, p: Portfolio | None = None) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    risk = rng.normal(size=n)
    raw = pd.DataFrame(
        {
            "day": pd.date_range("2023-01-01", "2025-12-31", periods=n).strftime("%Y-%m-%d"),
            "client": [f"C{i:05}" for i in range(n)],
            "branch": rng.choice(["north", "south", "east"], n),
            "income": np.where(np.arange(n) % 50 == 0, 0, np.exp(7 - risk / 3 + rng.normal(size=n) / 5)).round(),
            "debt": np.exp(6 + risk / 3 + rng.normal(size=n) / 2).round(),
            "late": rng.poisson(1, n),
            "paid": np.where(rng.uniform(size=n) < 1 / (1 + np.exp(2.5 - 1.5 * risk)), "no", "yes"),
        }
    )
    return clean(raw, p or portfolio(), as_of=AS_OF)[0]


def result(checks, code: str):
    return next(c for c in checks if c.code == code)


@pytest.fixture(scope="module")
def sample():
    p = Portfolio.load("pago_atiempo")
    return clean(sample_loans(), p, as_of=AS_OF)[0], p


# Measures


@pytest.mark.parametrize(("bads", "n"), [(0, 40), (1, 7), (20, 400), (511, 10_763), (7, 7)])
def test_wilson_is_scipys(bads, n):
    theirs = binomtest(bads, n).proportion_ci(method="wilson")
    assert np.allclose(np.ravel(wilson(bads, n)), [theirs.low, theirs.high], atol=1e-7)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=4, max_size=60))
@settings(max_examples=60, deadline=None)
def test_auc_is_sklearns_and_mann_whitneys(rows):
    bad, score = map(np.array, zip(*rows))
    if bad.all() or not bad.any():
        assert np.isnan(auc(bad, score))
        return
    assert np.isclose(auc(bad, score), roc_auc_score(bad, score))
    assert np.isclose(auc(bad, score), mannwhitneyu(score[bad], score[~bad]).statistic / (bad.sum() * (~bad).sum()))


def test_auc_interval_covers_the_truth_as_often_as_it_says():
    rng, hits = np.random.default_rng(1), 0
    bad, truth = np.arange(400) % 8 == 0, 0.7602499  # of normals that lie one apart
    for _ in range(300):
        area, low, high = auc_interval(bad, rng.normal(size=400) + bad)
        hits += low <= truth <= high
    assert 0.90 <= hits / 300 <= 0.985


def test_information_value_known():
    table = pd.DataFrame({"n": [100, 100], "bads": [20, 10]})
    assert information_value(table) == pytest.approx((20 / 30 - 80 / 170) * np.log((20 / 80) / (10 / 90)))  # of two bins: times the log odds ratio
    assert information_value(table * 7) == pytest.approx(information_value(table))
    assert information_value(pd.DataFrame({"n": [100, 300], "bads": [10, 30]})) == pytest.approx(0)
    empty = information_value(pd.DataFrame({"n": [100, 100], "bads": [10, 0]}))
    assert np.isfinite(empty) and empty > 1
    assert information_noise(table) == pytest.approx(1 / 30 + 1 / 170)


def test_rates_counts_only_known_outcomes():
    table = rates(pd.Series(["a", "a", "b"]), pd.Series([1.0, np.nan, 0.0]))
    assert table["n"].tolist() == [1, 1] and table["bads"].tolist() == [1, 0]


@given(st.lists(st.one_of(st.none(), st.floats(-1e10, 1e10), st.integers(-3, 3).map(float)), min_size=1, max_size=80), st.integers(2, 12))
@settings(max_examples=150, deadline=None)
def test_every_number_has_one_bin(values, bins):
    values = pd.Series(values, dtype="float64")
    cut = binned_numbers(values, bins)
    assert (cut.codes == -1).tolist() == values.isna().tolist()
    assert len(set(cut.categories)) == len(cut.categories) <= max(bins, 2)
    order = pd.Series(cut.codes)[values.notna()].to_numpy()
    assert (np.diff(order[np.argsort(values.dropna().to_numpy(), kind="stable")]) >= 0).all()


def test_special_codes_are_bins_of_their_own():
    p = portfolio()
    loans = toy_loans()
    table = rates(binned(loans, p.columns["income"], bins=4), loans["bad"])
    assert table.loc["0: not declared", "n"] == 12 and table["n"].sum() == len(loans)
    assert list(table.index)[-1] == "0: not declared"


# The leak gate


def test_a_column_known_after_the_outcome_blocks_by_name_and_by_measurement(sample):
    loans, p = sample
    checks = gate(loans, p, [c for c in p.all_columns if c != p.target])
    for code in ("CR001", "CR002"):
        assert result(checks, code).result == FAIL and set(result(checks, code).found) == {"puntaje"}
    assert "fecha_prestamo" in result(checks, "CR005").found
    assert {c.code for c in blocking(checks)} == {"CR001", "CR002", "CR005"}
    with pytest.raises(DataError, match=r"CR002.*\n?.*puntaje"):
        refuse_blocked(checks)


def test_nothing_blocks_on_the_features_that_the_dictionary_allows(sample):
    loans, p = sample
    checks = gate(loans, p)
    assert not blocking(checks) and refuse_blocked(checks) is None
    assert result(checks, "CR002").result == result(checks, "CR003").result == PASS


def test_a_leak_under_another_name_blocks_by_measurement_alone(sample):
    loans, p = sample
    renamed = p.from_dict(tomllib.loads(Path(p.source).read_text(encoding="utf-8").replace('type = "score"\nknown = "outcome"', 'type = "score"')))
    checks = gate(loans, renamed, ["puntaje", "edad_cliente"])
    assert result(checks, "CR001").result == PASS and set(result(checks, "CR002").found) == {"puntaje"}
    assert [c.code for c in blocking(checks)] == ["CR002"]


@pytest.mark.parametrize("leak", ["number", "middle", "word", "gap", "code", "many words"])
def test_every_kind_of_leak_is_measured(leak):
    rng, loans = np.random.default_rng(3), toy_loans(2000)
    bad = loans["bad"] == 1
    columns = {
        "number": ("late", bad * 5.0 + rng.uniform(size=2000)),
        "middle": ("late", pd.Series(np.where(bad, 50.5, rng.uniform(0, 100, 2000)))),
        "gap": ("late", pd.Series(rng.uniform(size=2000)).mask(bad)),
        "code": ("income", loans["income"].mask(bad)),
        "word": ("branch", bad.map({True: "legal", False: "north"})),
        "many words": ("branch", pd.Series(np.where(bad, "L", "N") + rng.integers(0, 40, 2000).astype("U2").astype(object))),
    }
    name, values = columns[leak]
    loans[name] = values
    if leak == "code":
        loans["income__raw"] = np.where(bad, "0", None)
    checks = gate(loans, portfolio(), [name])
    assert set(result(checks, "CR002").found) == {name}


def test_strength_is_not_a_leak():
    checks = gate(toy_loans(3000), portfolio())
    assert result(checks, "CR002").result == PASS


def test_held_out_auc_does_not_reward_learning_by_heart():
    bad = np.arange(1000) % 10 == 0
    assert held_out_auc(pd.Series([f"L{i}" for i in range(1000)]), bad) == 0.5
    assert abs(held_out_auc(pd.Series(np.random.default_rng(0).normal(size=1000)), bad) - 0.5) < 0.08


@given(st.lists(st.one_of(st.none(), st.floats(allow_infinity=False, width=32)), min_size=1, max_size=200))
@settings(max_examples=60, deadline=None)
def test_levels_keep_missing_apart(values):
    values = pd.Series(values, dtype="float64")
    codes = levels_of(values, most=8)
    assert codes.min() >= 0 and not set(codes[values.isna()]) & set(codes[values.notna()])


def test_a_tiny_portfolio_is_neither_red_nor_green():
    checks = gate(toy_loans(40), portfolio())
    assert result(checks, "CR002").result == result(checks, "CR004").result == result(checks, "CR006").result == INSUFFICIENT
    assert "at least" in result(checks, "CR002").why and not blocking(checks)


def test_identifiers_dates_and_constants_are_recognised_by_what_they_hold():
    text = TOY.replace('[columns.client]\ntype = "id"', '[columns.client]\ntype = "category"')
    loans = toy_loans(p=portfolio(text))
    loans["branch"] = loans["day"].dt.strftime("%d/%m/%Y %H:%M")
    loans["late"] = 3.0
    checks = gate(loans, portfolio(text))
    assert "client" in result(checks, "CR004").found
    assert set(result(checks, "CR005").found) == {"branch"}
    assert set(result(checks, "CR008").found) == {"late"}
    loans["branch"], loans["late"] = "north", loans["day"].dt.strftime("%Y%m%d").astype(float)
    checks = gate(loans, portfolio(text))
    assert set(result(checks, "CR005").found) == {"late"} and set(result(checks, "CR008").found) == {"branch"}


def test_a_calendar_in_disguise_is_found():
    loans = toy_loans()
    loans["late"] = (loans["day"].max() - loans["day"]).dt.days // 30
    assert set(result(gate(loans, portfolio(), ["late", "income"]), "CR006").found) == {"late"}


def test_what_the_dictionary_rules_out_is_named_with_its_reason(sample):
    loans, p = sample
    found = result(gate(loans, p, [*p.features, "cuota_pactada"]), "CR007").found
    assert set(found) == {"cuota_pactada"} and "interest rate" in found["cuota_pactada"]


def test_a_derived_column_leaks_with_its_source():
    text = TOY.replace('[columns.late]\ntype = "count"', '[columns.late]\ntype = "count"\nknown = "outcome"').replace("debt / income", "late / income")
    with pytest.raises(DataError, match="outcome"):
        portfolio(text)
    p = portfolio(text.replace('type = "ratio"', 'type = "ratio"\nknown = "outcome"'))
    assert set(result(gate(toy_loans(), p, ["burden", "debt", "bad"]), "CR001").found) == {"burden", "bad"} and "burden" not in p.features


def test_repeated_rows_and_broken_rules_are_counted():
    p = portfolio(TOY.replace('[columns.late]\ntype = "count"', "".join(f'[columns.n{i}]\ntype = "count"\n' for i in range(4)) + '[columns.late]\ntype = "count"'))
    rng, loans = np.random.default_rng(5), toy_loans()
    loans = loans.assign(**{f"n{i}": rng.integers(0, 1000, 600) * 1.0 for i in range(4)})
    assert result(gate(loans, p), "CR011").result == PASS
    loans.loc[1:3, p.monitored] = loans.loc[0, p.monitored].to_numpy()
    loans.loc[1, "debt"] *= 1.0001
    checks = gate(loans, p)
    assert list(result(checks, "CR011").found) == ["3 of 600 loans"]
    broken = int((loans["debt"] > as_reported(loans)["income"]).sum())
    assert f"{broken} loans" in result(checks, "CR012").found["debt below income"]


def test_without_a_date_time_does_not_apply():
    p = portfolio(TOY.replace('date = "day"', ""))
    loans = toy_loans()
    checks = gate(loans, p)
    assert result(checks, "CR006").result == result(checks, "CR013").result == NOT_APPLICABLE
    told = explore(loans, p)
    assert told["months"] == told["maturity"] == told["drift"] == NOT_APPLICABLE
    assert by_month(loans, p).empty and maturity(loans, p).empty and drift(loans, p).empty


def test_young_loans_that_look_better_are_noted():
    loans = toy_loans(1000).assign(bad=(np.arange(1000) < 600) * (np.arange(1000) % 3 == 0).astype(int))
    assert result(gate(loans, portfolio()), "CR013").result == FAIL
    assert not blocking(gate(loans, portfolio()))


def test_an_unknown_column_is_refused_in_words():
    with pytest.raises(DataError, match="did you mean 'income'"):
        gate(toy_loans(), portfolio(), ["incme"])
    with pytest.raises(DataError, match="not in the loans"):
        gate(toy_loans().drop(columns="late"), portfolio(), ["late"])


def test_codes_are_unique_and_severities_known():
    codes = [c[0] for c in gatekeeping.CHECKS]
    assert codes == [f"CR{i:03}" for i in range(1, len(codes) + 1)]
    assert {c[2] for c in gatekeeping.CHECKS} == {"block", "warn", "note"}


# Tables


def test_power_finds_order_sign_and_strength():
    loans, p = toy_loans(3000), portfolio()
    table = power(with_derived(loans, p), p)
    assert table.loc["income", "sign"] == table.loc["debt", "sign"] == "as expected"
    known = loans["income"].notna()
    assert table.loc["income", "auc"] == pytest.approx(roc_auc_score(loans.loc[known, "bad"], loans.loc[known, "income"]))
    assert table.loc["income", "n"] == known.sum() and set(table.index[:3]) == {"burden", "income", "debt"}
    assert table.loc["late", "iv"] < 3 * table.loc["late", "noise"]
    against = portfolio(TOY.replace("sign = -1", "sign = 1"))
    assert power(with_derived(loans, p), against).loc["income", "sign"] == "against"


def test_a_few_odd_loans_have_no_sign():
    loans, p = toy_loans(3000), portfolio()
    loans["debt"] = np.where(np.arange(3000) < 5, 1.0, 0.0)
    loans.loc[:4, "bad"] = 0
    assert power(with_derived(loans, p), p).loc["debt", "sign"] == "too weak to tell"


def test_correlations_are_spearmans_and_pearsons(sample):
    loans, p = sample
    spearman, pearson = correlations(loans, p)
    complete = ["capital_prestado", "cuota_pactada"]
    assert spearman.loc[tuple(complete)] == pytest.approx(spearmanr(loans[complete]).statistic)
    assert pearson.loc[tuple(complete)] == pytest.approx(np.corrcoef(loans[complete].T)[0, 1])
    names = list(spearman)
    assert abs(names.index("saldo_total") - names.index("saldo_principal")) == 1, "what says the same stands together"
    chosen = {frozenset(x) for x in pairs(loans, p, spearman, pearson)[["a", "b"]].to_numpy()}
    assert {frozenset(complete), frozenset(("saldo_total", "saldo_principal"))} <= chosen


def test_months_and_maturity(sample):
    loans, p = sample
    months = by_month(loans, p)
    assert months["n"].sum() == len(loans) and months["bads"].sum() == loans["bad"].sum() and months.index.is_monotonic_increasing
    aged = maturity(loans, p, (0, 12))
    old = loans[p.date] <= loans[p.date].max() - pd.DateOffset(months=12)
    assert aged.loc[0, "n"] == len(loans) and aged.loc[12, ["n", "bads"]].tolist() == [old.sum(), loans.loc[old, "bad"].sum()]


def test_drift_sees_a_halved_column_and_only_that():
    p, loans = portfolio(), toy_loans(2000)
    late = np.arange(2000) >= 1400
    table = drift(loans.assign(debt=loans["debt"] * np.where(late, 0.5, 1)).pipe(with_derived, p), p)
    assert table.loc["debt", "psi"] > 0.25 and table.loc[["branch", "late", "income"], "psi"].max() < 0.06


# Any portfolio


@pytest.mark.parametrize("n", [8, 60])
def test_tiny_portfolios_and_empty_columns_are_explored(n):
    p, loans = portfolio(), toy_loans(600).head(n)
    loans["bad"], loans["late"] = (np.arange(n) % 4 == 0).astype("int8"), np.nan
    told = explore(loans, p)
    json.dumps(plain(told), allow_nan=False)
    assert told["columns"].loc["late", "nulls"] == n and findings(told, p).loc["bad, all loans", "answer"].startswith(f"{n // 4} of {n}")


def test_everything_is_plain_json(sample):
    loans, p = sample
    told = explore(loans, p, maturity_months=4)
    text = json.dumps(plain(told), allow_nan=False)
    back = json.loads(text)
    assert back["all"][0]["n"] == 10_763 and {m["months"] for m in back["maturity"]} == {0, 3, 4, 6, 9, 12}
    assert {c["code"] for c in back["checks"]["features"]} == {c[0] for c in gatekeeping.CHECKS}
    assert {row["column"] for row in back["columns"]} == set(p.columns)
    assert sum(row["n"] for row in back["bins"]["edad_cliente"]) == 10_763


@pytest.mark.skipif(not UCI.is_file(), reason="the UCI file is not there")
def test_another_portfolio_is_explored_by_the_same_code():
    p = Portfolio.load(ROOT / "tests" / "portfolios" / "uci_credit_card.toml")
    loans = clean(read_loans(UCI, p), p)[0]
    told = explore(loans, p)
    assert told["months"] == NOT_APPLICABLE and told["all"].loc["all loans", "bads"] == 6636
    assert "PAY_0" in told["power"].index[:3] and told["power"].loc["PAY_0", "sign"] == "as expected"
    assert not blocking(told["checks"]["features"])
    assert "ID" in result(gate(loans, p, [c for c in p.all_columns if c != p.target]), "CR004").found
    json.dumps(plain(told), allow_nan=False)


def test_no_column_is_known_by_name():
    code = "".join((ROOT / "creditrisk" / f"{m}.py").read_text(encoding="utf-8") for m in ("checks", "plots", "eda"))
    toml = tomllib.loads((ROOT / "creditrisk" / "portfolios" / "pago_atiempo.toml").read_text(encoding="utf-8"))
    assert not [c for c in (*toml["columns"], *toml["derived"], toml["name"]) if c in code]


# The real file


@pytest.mark.skipif(not SEED.is_file(), reason="the real portfolio is not there: set CREDITRISK_SEED to its folder")
def test_the_real_portfolio_is_as_its_source_reports_it():
    p = Portfolio.load("pago_atiempo")
    loans = clean(read_loans(SEED, p), p, as_of=AS_OF)[0]
    table = describe(loans, p)
    assert len(loans) == 10_763 and round(1 - loans["bad"].mean(), 4) == 0.9525
    nulls = {"tendencia_ingresos": 2932, "promedio_ingresos_datacredito": 2930, "saldo_mora_codeudor": 590, "saldo_principal": 405, "saldo_mora": 156, "saldo_total": 156, "puntaje_datacredito": 6}
    assert table["nulls"].loc[lambda n: n > 0].to_dict() == nulls
    assert table.loc["tendencia_ingresos", "special"] == 58 and table.loc["edad_cliente", "special"] == 150
    assert table.loc["salario_cliente", "skewness"] == pytest.approx(43.8, abs=0.1) and table.loc["salario_cliente", "max"] == 2.2e10
    assert table.loc["saldo_mora_codeudor", "skewness"] == pytest.approx(95, abs=0.1)
    assert table.loc["saldo_mora_codeudor", "kurtosis"] == pytest.approx(9279.8, abs=1)
    everything = gate(loans, p, [c for c in p.all_columns if c != p.target])
    assert set(result(everything, "CR001").found) == set(result(everything, "CR002").found) == {"puntaje"}
    assert not blocking(gate(loans, p)) and result(everything, "CR011").result == PASS
    strength = power(with_derived(loans, p), p)
    assert strength.loc["puntaje_datacredito", "auc"] == pytest.approx(1 - 0.623, abs=0.002)
    assert drift(with_derived(loans, p), p).index[0] == "promedio_ingresos_datacredito"


# Pictures


def test_every_plot_draws_and_gives_its_axes_back(sample, tmp_path):
    loans, p = sample
    told = explore(loans.head(2000), p)
    drawn = [
        plot_numbers(loans["salario_cliente"]), plot_numbers(loans["edad_cliente"], bad=loans["bad"]), plot_levels(loans["tendencia_ingresos"]),
        plot_levels(loans["tipo_credito"], bad=loans["bad"]), plot_rates(told["bins"]["huella_consulta"]), plot_power(told["power"], p),
        plot_information(told["power"]["iv"], told["power"]["noise"], p), plot_correlations(told["spearman"], told["pearson"], p),
        plot_pair(loans, ("saldo_total", "saldo_principal"), p), plot_rates(told["months"]), plot_information(NOT_APPLICABLE, None, p),
    ]  # fmt: skip
    for i, ax in enumerate(drawn):
        ax.figure.savefig(tmp_path / f"{i}.png", dpi=40)
        assert (tmp_path / f"{i}.png").stat().st_size > 1000
    mine = grid(lambda item, ax: plot_numbers(item, ax=ax), [loans["edad_cliente"]] * 3, ncols=2)
    assert len(mine.axes) == 4 and mine.axes[0].get_title(loc="left") == "edad_cliente"


def test_a_rate_shows_its_loans_bads_and_interval():
    table = rates(pd.Series(["a"] * 500 + ["b"] * 20), pd.Series(([1] * 25 + [0] * 475) + [1] * 10 + [0] * 10))
    ax = plot_rates(table)
    said = [t.get_text() for t in ax.texts]
    assert "25\n500" in said and "10\n20" in said and "50%" in said, "a small group does not stretch the axis but its rate is told"
    assert ax.get_ylim()[1] == pytest.approx(1.1 * table.loc["a", "high"])


def test_axes_survive_any_column():
    for values in ([], [np.nan], [5.0], [0.0] * 10, [-1.0, 2.2e10], [0, 0, 1e-9], list(range(1000)), [1e300, -1e300]):
        edges, _, _ = axis_of(pd.Series(values, dtype="float64"))
        assert len(edges) > 1 and np.isfinite(edges).all() and (np.diff(edges) > 0).all(), values
    assert len(axis_of(pd.Series(np.r_[np.arange(100.0), 2.2e10]))[0]) < 100
    assert GOOD.startswith("#") and short(1e6) == "1M"
    assert len(plot_levels(pd.Series(["a", "b"]), label="a very long label " * 9).get_title(loc="left")) <= 38


def test_importing_is_quick_and_draws_nothing():
    code = "import sys, creditrisk.eda; print([m for m in ('matplotlib', 'seaborn', 'scipy', 'sklearn') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
