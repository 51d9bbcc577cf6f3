"The monitoring run: how batches are cut, what the log and the alerts say, and what is written."

import functools
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logit
from embedded import loans, portfolio

from creditrisk.alerts import ADVICE
from creditrisk.drift import SEVERITIES
from creditrisk.explain import bars_of, contributions, index_level, parts_of
from creditrisk.load import Column, DataError, Portfolio, clean, read_artifact, read_loans, sample_loans
from creditrisk.monitoring import PART, SCORE, Batches, Profile, by_reference, measurable, merged, monitor, new_loans, split_loans, with_known_scores, with_scores
from creditrisk.performance import BAND
from creditrisk.profile import count_levels, count_numbers

SEED = Path(os.environ.get("CREDITRISK_SEED", Path(__file__).parents[1] / "../shared/data/seed"))
UNDATED = Portfolio("undated", {"x": Column("x", "money"), "k": Column("k", "category"), "y": Column("y", "category", known="outcome")}, "y", "1")


class Model:
    "The more is lent the riskier."

    def predict_proba(self, loans):
        pd_ = 1 / (1 + 2e7 / loans[portfolio().amount].to_numpy())
        return np.column_stack([1 - pd_, pd_])


quick = functools.partial(monitor, population_loans=0)  # most tests are not about the population


@functools.cache
def whole():
    return monitor(with_scores(split_loans(loans(), portfolio()), Model()), portfolio())


def test_the_profile_is_found_here():
    from creditrisk import profile

    assert Profile is profile.Profile


def test_split_is_by_date_and_loses_nothing():
    shuffled = loans().sample(frac=1, random_state=1)
    both = split_loans(shuffled, portfolio())
    assert len(both.reference) == int(len(loans()) * 0.7) and both.reference[portfolio().date].max() <= both.current[portfolio().date].min()
    assert sorted([*both.reference.index, *both.current.index]) == sorted(loans().index) and both.mode == "time_split_70_30"
    for share in (0, 1, 1.5):
        with pytest.raises(DataError, match="share"):
            split_loans(loans(), portfolio(), share)


def test_without_a_date_the_split_is_by_row_and_the_log_has_one_period():
    chance = np.random.RandomState(1)
    frame = pd.DataFrame({"x": chance.normal(size=2000), "k": "a"})
    found = quick(split_loans(frame, UNDATED), UNDATED)
    assert found.alerts["mode"] == "row_split_70_30" and len(found.log) == 1 and found.log["n"].tolist() == [600]
    assert found.alerts["verdict"] == "VERDE" and found.alerts["advice"]["code"] == "nothing"


def test_log_has_the_names_that_others_read_and_one_row_a_period():
    log = whole().log
    assert log.columns[:4].tolist() == ["period", "avg_psi", "pct_red", "mode"] and log["period"].is_unique and log["period"].is_monotonic_increasing
    assert log["n"].sum() == len(loans()) and set(log["mode"]) == {"time_split_70_30"} and log["verdict"].isin(SEVERITIES).all()


def test_small_periods_are_not_red_by_noise():
    small = whole().log.query("n < 190")
    assert len(small) >= 1 and set(small["verdict"]) == {"SIN_DATOS"} and small[["avg_psi", "pct_red"]].isna().all(axis=None) and (small["n_red"] == 0).all()


def test_small_neighbours_are_one_period_and_no_loan_is_lost():
    pooled = whole().detail["pooled"]
    assert pooled and all(p["into"] == f"{p['periods'][0]}..{p['periods'][-1]}" and p["into"] in whole().detail["periods"] for p in pooled)
    assert sum(whole().detail["n"]) == len(loans())


@given(st.lists(st.integers(0, 600), max_size=24), st.integers(100, 20_000))
@settings(deadline=None, max_examples=200)
def test_merging_keeps_order_and_joins_only_neighbours_that_are_too_small(sizes, reference):
    names = [f"p{i:02}" for i in range(len(sizes))]
    groups = merged(dict(zip(names, sizes)), reference)
    assert [p for g in groups for p in g] == names
    enough = dict(zip(names, (measurable(n, reference) for n in sizes)))
    assert not any(enough[p] for g in groups if len(g) > 1 for p in g)
    assert all(measurable(sum(sizes[names.index(p)] for p in g), reference) for g in groups if len(g) > 1)


def test_the_score_is_a_variable_and_absent_without_a_model():
    assert SCORE in whole().table.index and SCORE in whole().base.columns
    found = quick(split_loans(loans(), portfolio()), portfolio())
    assert SCORE not in found.table.index and found.alerts["advice"]["code"] == "unscored"
    assert found.table["severity"].equals(whole().table["severity"].drop(SCORE).reindex(found.table.index))


def test_alerts_say_what_why_since_when_and_what_to_do():
    alerts = whole().alerts
    assert alerts["verdict"] == "ROJO" and alerts["advice"]["code"] in ADVICE and sum(alerts["counts"].values()) == len(whole().table)
    assert {a["feature"] for a in alerts["alerts"]} - {"pd:level", "pd:order"} == set(whole().table.index[whole().table["severity"].isin(["ROJO", "AMARILLO"])])
    for alert in alerts["alerts"]:
        assert alert["severity"] in ("ROJO", "AMARILLO") and alert["cause"] and all(alert[k][lang] for k in ("label", "change", "evidence", "action") for lang in ("es", "en"))
    first = alerts["alerts"][0]
    assert first["severity"] == "ROJO" and first["since"] in {p.partition("..")[0] for p in whole().log["period"]}
    json.dumps(alerts, allow_nan=False)


def test_same_loans_raise_nothing():
    both = split_loans(loans(), portfolio())
    found = quick(type(both)(both.reference, both.reference, both.mode), portfolio())
    assert found.alerts["verdict"] == "VERDE" and found.alerts["alerts"] == [] and not found.table["alert"].any()


def test_a_broken_column_asks_to_look_at_the_source():
    both = split_loans(loans(), portfolio())
    found = quick(type(both)(both.reference, both.current.assign(**{portfolio().amount: np.nan}), both.mode), portfolio())
    assert found.alerts["advice"]["code"] == "investigate" and found.alerts["alerts"][0]["cause"] == "quality"


def test_too_few_loans_ask_to_wait():
    both = split_loans(loans(), portfolio())
    found = quick(type(both)(both.reference, both.current[:30], both.mode), portfolio())
    assert found.alerts["verdict"] == "SIN_DATOS" and found.alerts["advice"]["code"] == "wait" and "30" in found.alerts["summary"]["es"]
    with pytest.raises(DataError, match="nothing to compare"):
        quick(type(both)(both.reference, both.current[:0], both.mode), portfolio())


def test_new_loans_need_no_outcome_and_refused_rows_are_counted(tmp_path):
    raw = sample_loans(600).drop(columns=portfolio().target)
    raw.loc[:2, portfolio().amount] = -5
    raw.to_csv(tmp_path / "new.csv", index=False)
    both = new_loans(loans(), str(tmp_path / "new.csv"), portfolio())
    assert both.mode == "new_loans" and both.rejected == 3 and len(both.current) == 597 and len(both.reference) == len(loans())
    found = quick(both, portfolio())
    assert found.alerts["current"]["rejected"] == 3 and found.log["n"].sum() <= len(loans()) + 597


def test_artifacts_are_written_and_read_back(tmp_path):
    whole().write(tmp_path)
    assert Profile.from_dict(read_artifact(tmp_path, "baseline_profile.json")) == whole().base
    table = read_artifact(tmp_path, "latest_drift_metrics.csv")
    assert table.columns[:7].tolist() == ["feature", "type", "psi", "ks", "js", "cramers_v", "severity"]
    pd.testing.assert_series_equal(table.set_index("feature")["psi"], whole().table["psi"], check_index_type=False)
    assert read_artifact(tmp_path, "monitoring_log.csv").columns[0] == "period" and read_artifact(tmp_path, "alerts.json") == whole().alerts
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")] and sum(p.stat().st_size for p in tmp_path.iterdir()) < 300_000


def test_bars_count_every_loan():
    chance = np.random.RandomState(5)
    columns = [pd.Series(chance.lognormal(7, 2, 900)), pd.Series(np.r_[np.zeros(890), np.arange(10.0)]), pd.Series(chance.randint(0, 9, 900)).mask(chance.random_sample(900) < 0.1), pd.Series(np.full(900, np.nan)), pd.Series(np.full(900, 7.5))]
    for column in columns:
        bars = bars_of(count_numbers(column), count_numbers(column[:400]))
        assert sum(bars["then"]) == 900 and sum(bars["now"]) == 400 and len(bars["then"]) == len(bars["now"])
        named = len(bars["edges"]) + 1 if "edges" in bars else len(bars["values"]) + bool(bars["others"])
        assert len(bars["then"]) == named + 1 <= 24
    levels = pd.Series([f"level {i % 40}" for i in range(900)])
    bars = bars_of(count_levels(levels), count_levels(levels[:100]))
    assert len(bars["levels"]) == bars["others"] == 20 and sum(bars["then"]) == 900


def test_detail_holds_every_feature_and_period():
    detail = json.loads(json.dumps(whole().detail, allow_nan=False))
    assert set(detail["features"]) == set(whole().base.columns) and detail["periods"] == whole().log["period"].tolist()
    for entry in detail["features"].values():
        assert len(entry["psi"]) == len(entry["severity"]) == len(detail["periods"]) and sum(entry["bars"]["then"]) == whole().base.n


def test_detail_of_the_score_adds_up():
    score, periods = whole().detail["score"], whole().detail["periods"]
    assert sum(score["then"]) == whole().base.n and len(score["then"]) == len(score["edges"]) + 1 and list(score["periods"]) == periods == [b["period"] for b in score["bands"]]
    for band, bars in zip(score["bands"], score["periods"].values()):
        assert sum(bars) == band["n"] and abs(band["approve"] + band["review"] + band["refuse"] - 1) < 1e-5 and band["low"] <= band["bad_rate"] <= band["high"]


def test_the_parts_of_the_score_are_those_that_the_saved_model_adds_up(small_run):
    "Whichever additive model was chosen: parts and intercept are its log-odds, contributions its mean shift."
    card, model, book = (read_artifact(small_run, name) for name in ("scorecard.json", "best_model.joblib", "loans.parquet"))
    assert "terms" in card, "the simplest model wins on few loans"
    odds = logit(model.predict_proba(book)[:, 1])
    np.testing.assert_allclose(card["intercept"] + parts_of(card, book, portfolio()).sum(axis=1), odds, atol=1e-9)
    half = len(book) // 2
    moved = (odds[:half].mean() - odds[half:].mean()) * portfolio().scorecard["pdo"] / np.log(2)
    assert abs(sum(c["points"] for c in contributions(card, book[:half], book[half:], portfolio())) - moved) < 0.01


def test_scores_of_training_are_used_and_a_run_of_other_loans_is_not_believed(small_run, tmp_path):
    book, scores = read_artifact(small_run, "loans.parquet"), read_artifact(small_run, "scores.parquet")
    scored = with_known_scores(book, small_run)
    assert np.array_equal(scored[SCORE], scores["pd"]) and with_known_scores(book[1:], small_run) is not scored and SCORE not in with_known_scores(book[1:], small_run)
    both = by_reference(scored, portfolio(), "training")
    assert set(both.reference[PART]) == {"fold"} and both.mode == "training" and len(both.reference) + len(both.current) == len(book)
    found = quick(both, portfolio())
    assert PART not in found.table.index, "a companion is not a new column"


@pytest.mark.parametrize(("how", "says"), [("training", "scores.parquet"), ("first_months", "expected"), ("last_months:0", "expected"), ("first_months:x", "expected"), ("all", "expected")])
def test_a_reference_that_cannot_be_had_says_why(how, says):
    with pytest.raises(DataError, match=says):
        by_reference(loans(), portfolio(), how)


def test_months_as_a_reference():
    early, late = (by_reference(loans(), portfolio(), how) for how in ("first_months:3", "last_months:3"))
    days = early.reference[portfolio().date]
    assert days.dt.to_period("M").nunique() == 3 and days.max() < early.current[portfolio().date].min() and len(early.reference) + len(early.current) == len(loans())
    assert late.reference[portfolio().date].max() <= late.current[portfolio().date].min() and len(late.current) == len(split_loans(loans(), portfolio()).current)
    with pytest.raises(DataError, match="no date"):
        by_reference(pd.DataFrame({"x": [1.0]}), UNDATED, "first_months:3")


def test_new_loans_with_some_outcomes_and_a_log_of_decisions(tmp_path):
    raw = sample_loans(3000)
    raw.loc[raw.index % 3 == 0, portfolio().target] = None
    raw.assign(decision_pd=0.1, decision_band="approve", decided_at="2026-05-01T10:00:00Z").drop(columns=portfolio().date).to_parquet(tmp_path / "log.parquet")
    both = new_loans(loans(), str(tmp_path / "log.parquet"), portfolio(), how="last_months:6")
    assert both.current[portfolio().date].eq(pd.Timestamp("2026-05-01 10:00")).all() and both.current["bad"].isna().sum() == 1000 and len(both.reference) < len(loans())
    found = quick(with_scores(both, Model()), portfolio())
    assert found.detail["performance"]["current"]["n"] == 2000 and found.detail["score"]["bands"][-1]["known"] == 2000
    with pytest.raises(DataError, match="after 2026-04-01"):
        new_loans(loans(), str(tmp_path / "log.parquet"), portfolio(), as_of="2026-04-01")


def test_since_when_counts_the_present_only():
    "A trend that began in the reference's own months is the present's from its first month on."
    both = split_loans(loans(), portfolio())
    first = f"{both.current[portfolio().date].min():%Y-%m}"
    assert all(a["since"] >= first for a in whole().alerts["alerts"] if a["since"])


def test_new_loans_do_not_push_the_months_own_loans_out():
    few = loans()[5000:5003].assign(**{portfolio().amount: 1.23e6})
    found = quick(Batches(loans(), few, "new_loans"), portfolio())
    assert sum(found.detail["n"]) == len(loans()) + 3
    again = quick(Batches(loans(), loans()[5000:5100], "new_loans"), portfolio())
    assert sum(again.detail["n"]) == len(loans()), "sent again, counted once"


def test_loans_without_score_or_date_are_named():
    both = with_scores(split_loans(loans(), portfolio()), Model())
    with pytest.raises(DataError, match="7 of .* current have no score"):
        quick(replace(both, current=both.current.assign(**{SCORE: both.current[SCORE].where(np.arange(len(both.current)) >= 7)})), portfolio())
    nameless = both.current.assign(**{portfolio().date: both.current[portfolio().date].where(np.arange(len(both.current)) >= 5)})
    assert quick(replace(both, current=nameless), portfolio()).alerts["current"]["undated"] == 5


def test_a_model_is_not_blamed_for_its_own_training_loans():
    "Without scores of training the reference is scored by a model that knows it: a fall of the AUC proves nothing."
    chance = np.random.RandomState(2)
    scored = loans().assign(**{SCORE: np.where(np.arange(len(loans())) < 7534, 0.02 + 0.2 * loans()["bad"], 0.0) + 0.05 * chance.random_sample(len(loans()))})
    inside, outside = quick(split_loans(scored, portfolio()), portfolio()), quick(split_loans(scored.assign(**{PART: "fold"}), portfolio()), portfolio())
    orders = [[a for a in f.alerts["alerts"] if a["feature"] == "pd:order"] for f in (inside, outside)]
    assert orders[0] == [] and orders[1][0]["severity"] == "ROJO"


def test_what_only_inflates_is_nominal():
    "Incomes times the wage index: red as found, calm once it is divided out, and no reason to retrain."
    column = next(c for c in portfolio().columns.values() if c.index)
    entry = portfolio().index[column.index] | {"by_year": {year: 1e6 * 1.5 ** (year - 2024) for year in range(2023, 2027)}}
    mixed = loans().sample(frac=1, random_state=2).reset_index(drop=True).assign(**{portfolio().date: loans()[portfolio().date]})
    grown = mixed.assign(**{column.name: mixed[column.name] * index_level(mixed[portfolio().date], entry)})
    inflated = replace(portfolio(), index={column.index: entry})
    found = quick(split_loans(grown, inflated), inflated)
    alert = next(a for a in found.alerts["alerts"] if a["feature"] == column.name)
    assert (alert["severity"], alert["cause"], alert["action_code"]) == ("ROJO", "nominal", "index") and found.alerts["deflation"][0]["severity"] != "ROJO"
    assert found.alerts["advice"]["code"] == "index" and "valor del dinero" in alert["evidence"]["es"]


@pytest.mark.skipif(not (SEED / "Base_de_datos.csv").is_file(), reason="the real portfolio is not here; CREDITRISK_SEED names its folder")
def test_the_real_portfolio():
    real, _ = clean(read_loans(SEED / "Base_de_datos.csv", portfolio()), portfolio())
    found = quick(split_loans(real, portfolio()), portfolio())
    income = next(a for a in found.alerts["alerts"] if a["feature"] == "promedio_ingresos_datacredito")
    assert (income["severity"], income["cause"]) == ("ROJO", "nominal") and income["psi"] > 0.3 and found.alerts["deflation"][0]["psi"] < 0.04
    published = pd.read_csv(SEED / "monitoring_log.csv").set_index("period")
    assert (published.loc["2026-03":, "pct_red"] > 0.6).all(), "there the source calls most columns red, on 40 and 11 loans"
    log = found.log.set_index("period")
    assert log.index[:12].tolist() == published.index[:12].tolist() and log.index[12:].tolist() == ["2025-11..2025-12", "2026-01..2026-04"]
    assert log.loc["2024-11", "verdict"] == "SIN_DATOS" and (log["pct_red"].dropna() < 0.4).all()


def test_the_decisions_are_monitored_like_a_variable():
    both = with_scores(split_loans(loans(), portfolio()), Model())
    moved = replace(both, current=both.current.assign(pd=0.5))
    calm, found = quick(both, portfolio()), quick(moved, portfolio())
    assert calm.table.loc[BAND, "type"] == "categorical" and found.table.loc[BAND, "severity"] == "ROJO"
    alert = next(a for a in found.alerts["alerts"] if a["feature"] == BAND)
    assert alert["cause"] == "score" and "approve" in alert["change"]["en"]
