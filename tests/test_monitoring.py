"The monitoring run: how batches are cut, what the log and the alerts say, and what is written."

import functools
import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from creditrisk.drift import SEVERITIES
from creditrisk.load import Column, DataError, Portfolio, clean, read_artifact, read_loans, sample_loans
from creditrisk.monitoring import ADVICE, SCORE, Profile, bars_of, monitor, new_loans, split_loans, with_scores
from creditrisk.profile import count_levels, count_numbers

SEED = Path(os.environ.get("CREDITRISK_SEED", Path(__file__).parents[1] / "../shared/data/seed"))
UNDATED = Portfolio("undated", {"x": Column("x", "money"), "k": Column("k", "category"), "y": Column("y", "category", known="outcome")}, "y", "1")


class Model:
    "The more is lent the riskier."

    def predict_proba(self, loans):
        pd_ = 1 / (1 + 2e7 / loans[portfolio().amount].to_numpy())
        return np.column_stack([1 - pd_, pd_])


@functools.cache
def portfolio() -> Portfolio:
    return Portfolio.load("pago_atiempo")


@functools.cache
def loans() -> pd.DataFrame:
    return clean(sample_loans(), portfolio())[0]


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
    found = monitor(split_loans(frame, UNDATED), UNDATED)
    assert found.alerts["mode"] == "row_split_70_30" and len(found.log) == 1 and found.log["n"].tolist() == [600]
    assert found.alerts["verdict"] == "VERDE" and found.alerts["advice"]["code"] == "nothing"


def test_log_has_the_names_that_others_read_and_one_row_a_period():
    log = whole().log
    assert log.columns[:4].tolist() == ["period", "avg_psi", "pct_red", "mode"] and log["period"].is_unique and log["period"].is_monotonic_increasing
    assert log["n"].sum() == len(loans()) and set(log["mode"]) == {"time_split_70_30"} and log["verdict"].isin(SEVERITIES).all()


def test_small_periods_are_not_red_by_noise():
    small = whole().log.query("n < 180")
    assert len(small) >= 4 and set(small["verdict"]) == {"SIN_DATOS"} and small[["avg_psi", "pct_red"]].isna().all(axis=None) and (small["n_red"] == 0).all()


def test_the_score_is_a_variable_and_absent_without_a_model():
    assert SCORE in whole().table.index and SCORE in whole().base.columns
    found = monitor(split_loans(loans(), portfolio()), portfolio())
    assert SCORE not in found.table.index and found.alerts["advice"]["code"] == "unscored"
    assert found.table["severity"].equals(whole().table["severity"].drop(SCORE).reindex(found.table.index))


def test_alerts_say_what_why_since_when_and_what_to_do():
    alerts = whole().alerts
    assert alerts["verdict"] == "ROJO" and alerts["advice"]["code"] in ADVICE and sum(alerts["counts"].values()) == len(whole().table)
    assert {a["feature"] for a in alerts["alerts"]} == set(whole().table.index[whole().table["severity"].isin(["ROJO", "AMARILLO"])])
    for alert in alerts["alerts"]:
        assert alert["severity"] in ("ROJO", "AMARILLO") and alert["cause"] and all(alert[k][lang] for k in ("label", "change", "action") for lang in ("es", "en"))
    first = alerts["alerts"][0]
    assert first["severity"] == "ROJO" and first["since"] in set(whole().log["period"]) and first["periods"] >= 1
    json.dumps(alerts, allow_nan=False)


def test_same_loans_raise_nothing():
    both = split_loans(loans(), portfolio())
    found = monitor(type(both)(both.reference, both.reference, both.mode), portfolio())
    assert found.alerts["verdict"] == "VERDE" and found.alerts["alerts"] == [] and not found.table["alert"].any()


def test_a_broken_column_asks_to_look_at_the_source():
    both = split_loans(loans(), portfolio())
    found = monitor(type(both)(both.reference, both.current.assign(**{portfolio().amount: np.nan}), both.mode), portfolio())
    assert found.alerts["advice"]["code"] == "investigate" and found.alerts["alerts"][0]["cause"] in ("empty", "population")


def test_too_few_loans_ask_to_wait():
    both = split_loans(loans(), portfolio())
    found = monitor(type(both)(both.reference, both.current[:30], both.mode), portfolio())
    assert found.alerts["verdict"] == "SIN_DATOS" and found.alerts["advice"]["code"] == "wait" and "30" in found.alerts["summary"]["es"]
    with pytest.raises(DataError, match="nothing to compare"):
        monitor(type(both)(both.reference, both.current[:0], both.mode), portfolio())


def test_new_loans_need_no_outcome_and_refused_rows_are_counted(tmp_path):
    raw = sample_loans(600).drop(columns=portfolio().target)
    raw.loc[:2, portfolio().amount] = -5
    raw.to_csv(tmp_path / "new.csv", index=False)
    both = new_loans(loans(), str(tmp_path / "new.csv"), portfolio())
    assert both.mode == "new_loans" and both.rejected == 3 and len(both.current) == 597 and len(both.reference) == len(loans())
    found = monitor(both, portfolio())
    assert found.alerts["current"]["rejected"] == 3 and found.log["n"].sum() <= len(loans()) + 597


def test_artifacts_are_written_and_read_back(tmp_path):
    whole().write(tmp_path)
    assert Profile.from_dict(read_artifact(tmp_path, "baseline_profile.json")) == whole().base
    table = read_artifact(tmp_path, "latest_drift_metrics.csv")
    assert table.columns[:7].tolist() == ["feature", "type", "psi", "ks", "js", "cramers_v", "severity"]
    pd.testing.assert_series_equal(table.set_index("feature")["psi"], whole().table["psi"], check_index_type=False)
    assert read_artifact(tmp_path, "monitoring_log.csv").columns[0] == "period" and read_artifact(tmp_path, "alerts.json") == whole().alerts
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")] and sum(p.stat().st_size for p in tmp_path.iterdir()) < 200_000


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


@pytest.mark.skipif(not (SEED / "Base_de_datos.csv").is_file(), reason="the real portfolio is not here; CREDITRISK_SEED names its folder")
def test_the_real_portfolio():
    real, _ = clean(read_loans(SEED / "Base_de_datos.csv", portfolio()), portfolio())
    found = monitor(split_loans(real, portfolio()), portfolio())
    assert "promedio_ingresos_datacredito" in [a["feature"] for a in found.alerts["alerts"] if a["severity"] == "ROJO"]
    published = pd.read_csv(SEED / "monitoring_log.csv").set_index("period")
    log = found.log.set_index("period")
    assert log.index.tolist() == published.index.tolist()
    late = log.loc["2025-11":]
    assert set(late["verdict"]) == {"SIN_DATOS"} and (published.loc["2026-03":, "pct_red"] > 0.6).all(), "there the source calls most columns red, on 40 and 11 loans"
