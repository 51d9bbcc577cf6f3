"Champion and challenger on the same rows; promotion that is recorded, checked and taken back."

import json
import multiprocessing
import shutil

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from creditrisk.execute import RunError
from creditrisk.load import DataError, Portfolio, as_reported, read_artifact
from creditrisk.performance import shifted
from creditrisk.recalibrate import recalibrate
from creditrisk.retrain import CHALLENGERS, PRODUCTION, auc_difference, brier, compare, compare_runs, in_use, loss_difference, promote, promotions, retrain, revert, unseen
from creditrisk.scorer import Scorer

COSTS = {"lgd": 0.6, "margin": 0.08}


def draw(n: int = 3000, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    "Outcomes, a model that knows half of what drives them, and one that knows all."
    chance = np.random.RandomState(seed)
    one, two = chance.standard_normal((2, n))
    right = expit(-2.5 + one + two)
    return (chance.random_sample(n) < right).astype(float), expit(-2.2 + one), right


def test_paired_intervals_cover_what_resampling_shows():
    bad, old, new = draw()
    found, level = auc_difference(bad, old, new), loss_difference(bad, old, new, brier)
    chance = np.random.RandomState(1)
    drawn = [(auc_difference(bad[i], old[i], new[i])["estimate"], loss_difference(bad[i], old[i], new[i], brier)["estimate"]) for i in (chance.randint(0, len(bad), len(bad)) for _ in range(200))]
    for interval, values in zip((found, level), np.array(drawn).T):
        low, high = np.quantile(values, [0.025, 0.975])
        assert abs(interval["low"] - low) < 0.35 * (high - low) and abs(interval["high"] - high) < 0.35 * (high - low)


def test_swapping_the_models_turns_every_difference_round():
    bad, old, new = draw()
    there, back = (compare(pd.DataFrame({"bad": bad, "champion": a, "challenger": b}), pd.DataFrame({"bad": [], "champion": []}), COSTS) for a, b in ((old, new), (new, old)))
    for name in ("auc", "brier", "log_loss"):
        assert np.isclose(there["differences"][name]["low"], -back["differences"][name]["high"])
    assert there["recommendation"]["code"] == "promote" and back["recommendation"]["code"] == "keep" and there["swap_cost"] is None


def test_a_level_that_is_off_needs_no_new_model():
    bad, _, right = draw(6000)
    table = pd.DataFrame({"bad": bad, "champion": shifted(right, 0.9), "challenger": right})
    found = compare(table[3000:], table[:3000], COSTS, "r2")
    assert found["recommendation"]["code"] == "recalibrate" and abs(found["shift"] + 0.9) < 0.2 and set(found["metrics"]) == {"champion", "challenger", "champion_recalibrated"}
    assert compare(table[3000:], table[:0], COSTS, "r2")["recommendation"]["code"] == "promote", "without loans to update it on, the level counts for the challenger"


def test_the_recommendation_says_what_its_intervals_say():
    bad, old, new = draw(6000)
    none = pd.DataFrame({"bad": [], "champion": []})
    off, worse, few = (compare(pd.DataFrame({"bad": b, "champion": a, "challenger": c}), none, COSTS, "r2") for b, a, c in ((bad, old, shifted(new, 1.5)), (bad, new, old), (np.r_[np.ones(60), 0.0], np.full(61, 0.9), np.full(61, 0.8))))
    assert off["differences"]["auc"]["low"] > 0 < off["differences"]["brier"]["low"] and "orders better" in off["recommendation"]["en"] and off["recommendation"]["code"] == "keep"
    assert "es peor" in worse["recommendation"]["es"] and few["recommendation"]["code"] == "wait" and "1 good" in few["recommendation"]["en"]


@pytest.fixture
def runs(small_run, tmp_path):
    "A champion that learned from the first third of a run's loans, and the run itself as challenger."
    champion, challenger = tmp_path / "old", tmp_path / CHALLENGERS / "new"
    for folder in (champion, challenger):
        shutil.copytree(small_run, folder)
    loans = read_artifact(small_run, "loans.parquet")
    pd.DataFrame({"pd": 0.05, "part": np.where(np.arange(len(loans)) < len(loans) // 3, "fold", "held_out")}).to_parquet(champion / "scores.parquet")
    return champion, challenger


def test_only_loans_that_neither_learned_from_are_judged(runs):
    champion, challenger = runs
    portfolio = Portfolio.load("pago_atiempo")
    loans, scores = (read_artifact(challenger, name) for name in ("loans.parquet", "scores.parquet"))
    found = compare_runs(champion, challenger, portfolio)
    assert found["rows"]["n"] == (scores["part"] == "held_out").sum() and found["rows"]["from"] >= f"{loans[portfolio.date][len(loans) // 3]:%Y-%m-%d}"
    assert found["differences"]["auc"]["estimate"] == 0, "it is the same model here"
    assert found["recommendation"]["code"] in ("keep", "wait") and json.dumps(found, allow_nan=False)


def test_a_champion_that_learned_from_everything_leaves_nothing_to_judge(runs):
    champion, challenger = runs
    (champion / "scores.parquet").unlink()
    with pytest.raises(DataError, match="reaches further"):
        compare_runs(champion, challenger, Portfolio.load("pago_atiempo"))


def test_loans_are_known_again_by_their_content_without_a_date():
    portfolio = Portfolio.from_dict({"schema": 1, "name": "u", "target": "y", "good": "1", "columns": {"x": {"type": "money"}, "k": {"type": "category"}, "y": {"type": "category", "levels": ["0", "1"], "known": "outcome"}}})
    first = pd.DataFrame({"x": [1.0, 2.0, np.nan, 4.0], "k": ["a", None, "b", "c"], "_part": ["fold", "fold", "fold", "held_out"]})
    second = first.sample(frac=1, random_state=1).assign(_part="held_out", k=lambda t: t["k"].where(t["k"].notna(), np.nan))
    judged, earlier = unseen(first, second, portfolio)
    assert judged["x"].tolist() == [4.0] and earlier.empty


def test_retraining_asks_for_the_same_run_on_new_data_and_puts_nothing_to_work(runs, monkeypatch):
    champion, challenger = runs
    monkeypatch.setenv("CREDITRISK_HOME", str(champion.parents[0]))
    asked = {}

    def run_with(**options):
        asked.update(options)
        return challenger

    done = retrain(champion, "new.csv", run_id="new", parameters=["seed=3"], run_with=run_with)
    assert done == challenger and asked["output"] == champion.parent / "output" / CHALLENGERS and asked["data"] == "new.csv" and asked["portfolio"] == "pago_atiempo"
    assert {"seed=3", "rows=2000", "hand_over=False"} <= set(asked["parameters"]) and not (champion.parent / PRODUCTION).exists()
    assert json.loads((challenger / "retraining.json").read_text())["challenger"]["run"] == "new"


def test_promotion_is_recorded_and_taken_back(runs):
    champion, challenger = runs
    output = champion.parent
    assert promote("old", by="ana", reason="first", output=output) == champion and in_use(output) == "old"
    assert promote("new", by="ana", reason="orders better", output=output) == challenger and in_use(output) == f"{CHALLENGERS}/new" and (output / PRODUCTION / "scorecard.json").is_file()
    assert revert(by="eva", reason="complaints", output=output).resolve() == champion and revert(by="eva", reason="a mistake", output=output).resolve() == challenger
    rows = promotions(output)
    assert [(r["by"], r["from"], r["to"]) for r in rows] == [("ana", "", "old"), ("ana", "old", f"{CHALLENGERS}/new"), ("eva", f"{CHALLENGERS}/new", "old"), ("eva", "old", f"{CHALLENGERS}/new")]
    assert all(len(r["sha256"]) == 64 and r["at"].endswith("Z") for r in rows) and rows[2]["reason"] == "revert: complaints"


def test_taking_back_the_first_promotion_leaves_nothing_in_use(runs):
    output = runs[0].parent
    with pytest.raises(RunError, match="nothing was promoted"):
        revert(by="ana", reason="x", output=output)
    promote("old", by="ana", reason="first", output=output)
    assert revert(by="ana", reason="x", output=output) is None and not (output / PRODUCTION).is_symlink() and len(promotions(output)) == 2


def test_a_run_that_cannot_be_trusted_is_not_promoted(runs):
    champion, challenger = runs
    output = champion.parent
    promote("old", by="ana", reason="first", output=output)
    card = json.loads((challenger / "scorecard.json").read_text())
    (challenger / "scorecard.json").write_text(json.dumps(card | {"intercept": 0.0}))
    with pytest.raises(ValueError, match="not the file that its run wrote"):
        promote("new", by="ana", reason="x", output=output)
    (challenger / "run.json").unlink()
    with pytest.raises(RunError, match="no complete run"):
        promote("new", by="ana", reason="x", output=output)
    with pytest.raises(RunError, match="who decides"):
        promote("old", by=" ", reason="x", output=output)
    assert in_use(output) == "old" and len(promotions(output)) == 1


def test_a_folder_in_the_way_is_not_lost_and_nothing_is_noted(runs):
    output = runs[0].parent
    (output / PRODUCTION).mkdir()
    with pytest.raises(RunError, match="not a link"):
        promote("old", by="ana", reason="x", output=output)
    assert (output / PRODUCTION).is_dir() and promotions(output) == []


def _promote(output, name: str) -> None:
    for i in range(5):
        promote(name, by=name, reason=str(i), output=output)


def test_two_people_at_once_leave_one_story(runs):
    output = runs[0].parent
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_promote, args=(output, name)) for name in ("old", "new")]
    for w in workers:
        w.start()
    for w in workers:
        w.join(60)
    rows = promotions(output)
    assert [w.exitcode for w in workers] == [0, 0] and len(rows) == 10 and [r["from"] for r in rows[1:]] == [r["to"] for r in rows[:-1]] and in_use(output) == rows[-1]["to"]


def test_a_recalibrated_run_is_the_old_one_but_for_its_intercept(runs, monkeypatch):
    "Saved model, plain data, query, points and scores say the same, and it can be promoted."
    champion, _ = runs
    monkeypatch.setenv("CREDITRISK_HOME", str(champion.parent))
    shutil.copy(champion.parent / CHALLENGERS / "new" / "scores.parquet", champion)
    done = recalibrate(champion, shift=-0.6, run_id="r3")
    assert done == champion.parent / "output" / CHALLENGERS / "r3" and not list(done.parent.glob(".*")) and not (done / "alerts.json").exists()
    loans = read_artifact(done, "loans.parquet")
    old, new = (read_artifact(folder, "best_model.joblib").predict_proba(loans)[:, 1] for folder in (champion, done))
    np.testing.assert_allclose(new, shifted(old, -0.6), atol=1e-12)
    np.testing.assert_allclose(Scorer.load(done).score(as_reported(loans))["pd"], new, atol=1e-9)
    np.testing.assert_allclose(read_artifact(done, "scores.parquet")["pd"], shifted(read_artifact(champion, "scores.parquet")["pd"].to_numpy(), -0.6))
    assert (done / "scorecard.sql").read_text() != (champion / "scorecard.sql").read_text() and "Recalibrated: -0.6" in (done / "model_card.md").read_text()
    assert json.loads((done / "run.json").read_text())["recalibrated"]["from"] == "old"
    assert promote("r3", by="ana", reason="level", output=champion.parent / "output") == done
    with pytest.raises(RunError, match="there already"):
        recalibrate(champion, shift=-0.6, run_id="r3")


def test_recalibrating_takes_the_shift_that_monitoring_found_or_asks_for_one(runs, monkeypatch):
    champion, _ = runs
    monkeypatch.setenv("CREDITRISK_HOME", str(champion.parent))
    alerts = json.loads((champion / "alerts.json").read_text())
    (champion / "alerts.json").write_text(json.dumps(alerts | {"intercept": {"shift": -0.25}}))
    done = recalibrate(champion)
    assert read_artifact(done, "scorecard.json")["intercept"] == read_artifact(champion, "scorecard.json")["intercept"] - 0.25
    (champion / "alerts.json").write_text(json.dumps(alerts | {"intercept": None}))
    with pytest.raises(RunError, match="give the shift"):
        recalibrate(champion)
    (champion / "scorecard.json").write_text(json.dumps({"model": "random_forest", "trees": {}}))
    with pytest.raises(RunError, match="retrain instead"):
        recalibrate(champion, shift=0.1)
