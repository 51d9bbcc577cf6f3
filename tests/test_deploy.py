"""Contracts of the scorer and the API: the meaning of a cell, parity with training's own cleaning, refusals, a real server."""

import json
import math
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import warnings
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from xgboost import XGBClassifier

from creditrisk import load, scorer, terms
from creditrisk.deploy import Scorer, ScorerError, create_app
from creditrisk.features import Cleaner, linear_encoding, tree_encoding
from creditrisk.intake import Intake, Refusal, careful_rows
from creditrisk.load import RAW, Portfolio, as_reported, evaluate, sample_loans, set_missing
from creditrisk.scorecard import scorecard_file
from creditrisk.terms import SET_ASIDE, Derived, Field
from creditrisk.training import CANDIDATES

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # starlette announces a successor of httpx
    testclient = pytest.importorskip("starlette.testclient")
HERE = Path(__file__).parent
PORTFOLIO = Portfolio.load("pago_atiempo")
UCI = Portfolio.load(HERE / "portfolios" / "uci_credit_card.toml")
SURVEY = Portfolio.from_dict(  # words for nothing that are levels or codes, an ordinal without levels, codes in a category
    {
        "schema": 1, "name": "survey", "target": "paid", "good": "yes",
        "columns": {
            "paid": {"type": "category", "levels": ["yes", "no"], "known": "outcome"},
            "children": {"type": "category", "levels": ["none", "some"], "codes": {"na": "not asked", "9": "refused"}, "outside": "missing"},
            "stars": {"type": "ordinal", "min": 1, "max": 5, "outside": "missing", "codes": {"9": "refused"}},
            "grade": {"type": "ordinal", "levels": ["-1", "0", "1"], "outside": "warn"},
            "owner": {"type": "category", "levels": ["True", "False"], "outside": "missing"},
        },
    }
)  # fmt: skip

EXAMPLE = {  # twelve of the fields, as a lender's first request might have
    "capital_prestado": 1_500_000, "plazo_meses": 12, "edad_cliente": 45, "tipo_laboral": "Empleado", "salario_cliente": 2_500_000, "total_otros_prestamos": 500_000,
    "cuota_pactada": 150_000, "puntaje_datacredito": 750, "cant_creditosvigentes": 3, "huella_consulta": 2, "saldo_total": 5000, "tendencia_ingresos": "Estable",
}  # fmt: skip


def field_entry(column: load.Column) -> dict:
    "A column as a scorecard describes it."
    entry = {k: getattr(column, k) for k in ("name", "type", "unit", "min", "max", "outside", "levels", "codes", "required", "label")}
    return entry | {k: str(entry[k]) for k in ("min", "max") if column.type == "date" and entry[k] is not None}


def make_card(portfolio: Portfolio, card_terms: list[dict], derived: dict[str, str]) -> dict:
    "A scorecard by hand, without golden rows."
    columns = portfolio.columns.values()
    return {
        "schema": 1, "portfolio": portfolio.name, "model": "scorecard", "target": {"column": portfolio.target, "good": portfolio.good},
        "outcome": [c.name for c in columns if c.known == "outcome"], "fields": [field_entry(c) for c in columns if c.known == "application"],
        "derived": [{"name": k, "expression": v} for k, v in derived.items()], "intercept": -3.1, "terms": card_terms,
        "points": {"base_score": 600, "base_odds": 20, "pdo": 40}, "cutoffs": {"approve": 0.04, "refuse": 0.09}, "golden": [],
    }  # fmt: skip


TERMS = [
    {"column": "huella_consulta", "kind": "bins", "edges": [2, 5, 8], "values": [-0.4, -0.1, 0.2, 0.6], "missing": 0.05, "special": 0.05},
    {"column": "edad_cliente", "kind": "bins", "edges": [30, 45.5, 60], "values": [0.3, 0.1, -0.1, -0.3], "missing": 0.02, "special": 0.25},
    {"column": "salario_cliente", "kind": "linear", "slope": -1.3e-8, "center": 1.8e6, "missing": 0.0, "special": 0.4},
    {"column": "puntaje_datacredito", "kind": "linear", "slope": -0.004, "center": 780.5, "missing": 0.31, "special": 0.62},
    {"column": "total_otros_prestamos", "kind": "bins", "edges": [1, 800_000], "values": [0.5, 0.0, -0.1], "missing": 0.1, "special": 0.2},
    {"column": "saldo_principal", "kind": "bins", "edges": [], "values": [0.0], "missing": 0.35, "special": 0.35},
    {"column": "promedio_ingresos_datacredito", "kind": "bins", "edges": [1e6, 1.5e6], "values": [0.2, 0.0, -0.2], "missing": 0.11, "special": 0.44},
    {"column": "tipo_credito", "kind": "levels", "values": {"4": 0.0, "9": 0.4, "10": -0.2}, "unseen": 0.9, "missing": 0.1, "special": 0.1},
    {"column": "tendencia_ingresos", "kind": "levels", "values": {"Creciente": -0.1, "Estable": 0.0, "Decreciente": 0.2}, "unseen": 0.1, "missing": 0.15, "special": -0.25},
    {"column": "otros_sobre_salario", "kind": "linear", "slope": 0.2, "center": 0.4, "missing": 0.07, "special": 0.07},
    {"column": "log_capital", "kind": "bins", "edges": [14, 15], "values": [-0.1, 0.0, 0.15], "missing": 0.0, "special": 0.0},
]
CARD = make_card(PORTFOLIO, TERMS, {"otros_sobre_salario": "total_otros_prestamos / salario_cliente", "log_capital": "log1p(capital_prestado)"})
UCI_CARD = make_card(
    UCI,
    [
        {"column": "LIMIT_BAL", "kind": "linear", "slope": -2e-6, "center": 150_000, "missing": 0.1, "special": 0.1},
        {"column": "EDUCATION", "kind": "levels", "values": {"1": -0.1, "2": 0.0, "3": 0.1}, "unseen": 0.05, "missing": 0.0, "special": -0.6},
        {"column": "AGE", "kind": "bins", "edges": [25, 40], "values": [0.2, 0.0, 0.1], "missing": 0.0, "special": 0.0},
    ],
    {},
)


def reference_values(term: dict, cells: pd.Series, special: np.ndarray) -> np.ndarray:
    "A term's values, computed another way: numpy on cleaned columns."
    given = cells.notna().to_numpy()
    values = np.full(len(cells), float(term["missing"]))
    if term["kind"] == "levels":
        values[given] = [term["values"].get(v, term["unseen"]) for v in cells[given]]
    elif term["kind"] == "bins":
        values[given] = np.asarray(term["values"], dtype=float)[np.digitize(cells[given].to_numpy(float), term["edges"])]
    else:
        values[given] = term["slope"] * (cells[given].to_numpy(float) - term["center"])
    values[special & ~given] = term["special"]
    return values


def reference_pd(card: dict, frame: pd.DataFrame, portfolio: Portfolio) -> np.ndarray:
    "PD by load's own cleaning and load's own expressions."
    cleaned = set_missing(frame, portfolio)
    for d in card["derived"]:
        cleaned[d["name"]] = evaluate(d["expression"], cleaned)
    log_odds = np.full(len(frame), card["intercept"])
    for term in card["terms"]:
        companion = term["column"] + RAW
        special = cleaned[companion].notna().to_numpy() if companion in cleaned else np.zeros(len(frame), bool)
        log_odds += reference_values(term, cleaned[term["column"]], special)
    return 1 / (1 + np.exp(-log_odds))


@pytest.fixture(scope="module")
def raw() -> pd.DataFrame:
    return sample_loans(2000)


def golden_card(raw: pd.DataFrame) -> dict:
    rows = json.loads(raw[[f["name"] for f in CARD["fields"]]].head(50).to_json(orient="records"))
    return CARD | {"golden": [{"row": r, "pd": float(p)} for r, p in zip(rows, reference_pd(CARD, raw.head(50), PORTFOLIO), strict=True)]}


@pytest.fixture(scope="module")
def run(tmp_path_factory, raw) -> Path:
    "A run's folder with a hand-made scorecard."
    folder = tmp_path_factory.mktemp("run")
    (folder / "scorecard.json").write_text(json.dumps(golden_card(raw), allow_nan=False), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def model(run) -> Scorer:
    return Scorer.load(run)


@pytest.fixture(scope="module")
def client(run):
    with testclient.TestClient(create_app(run)) as client:
        yield client


def as_body(frame: pd.DataFrame) -> bytes:
    names = [f["name"] for f in CARD["fields"]]
    return json.dumps({"data": json.loads(frame[names].to_json(orient="records"))}).encode()


# --- the meaning of a cell ---------------------------------------------------------------------------------------------------------


def test_the_words_for_nothing_are_those_of_load():
    assert terms.NOTHING == load.NOTHING and scorer.RAW == load.RAW and set(terms.FUNCTIONS) == set(load.FUNCTIONS) and set(terms.OPERATORS) == set(load.OPERATORS)


def cell_of(value, portfolio: Portfolio, name: str):
    "What load makes of a raw value."
    cleaned = set_missing(pd.DataFrame({name: pd.Series([value], dtype=object)}), portfolio)
    if name + RAW in cleaned and cleaned[name + RAW].notna()[0]:
        return SET_ASIDE
    return None if pd.isna(cleaned[name][0]) else cleaned[name][0]


EDGES = [0, 7, -7, 17, 18, 100, 101, 121, 149.9, 150, 950, 951, 299_999.99, 300_000, 1e8, 1e8 + 1, -1, -0.0, 1e400, -1e400, math.nan, 10**30, 2.2e10, 4, 4.0, 6, 68, 1e22, 0.1]
WORDS = [*load.NOTHING, "NaN", " N/A ", "None", " Estable ", "estable", "Creciente", "8315", "0", "0.0", "-7", "4", "4.0", " 9", "68.0", "1e3", "+5", ".5", "5.", "1_000", "1,000", "inf", "-Infinity"]
WORDS += ["some", "TRUE", "false", "-1", "-1.0", "007", "1.00", "1e400", "0x1F", "١٢", "١.0", "12 3", "abc", "True", "Empleado", "9007199254740993", "1e-400", "--3", "5%", "2025-01-01"]
ODD = [None, True, False, pd.NA, pd.NaT, np.int64(4), np.float64(4.5), np.float32(0.5), np.bool_(True), pd.Timestamp("2025-01-01")]


@pytest.mark.parametrize("portfolio", [PORTFOLIO, UCI, SURVEY], ids=lambda p: p.name)
def test_a_cell_means_what_set_missing_makes_of_it(portfolio):
    columns = [c for c in portfolio.columns.values() if c.known == "application" and c.type not in ("date", "id")]
    found = {(c.name, repr(v)): Field.of(field_entry(c)).read(v) for c in columns for v in EDGES + WORDS + ODD}
    expected = {(c.name, repr(v)): cell_of(v, portfolio, c.name) for c in columns for v in EDGES + WORDS + ODD}
    assert {k: (found[k], expected[k]) for k in found if found[k] != expected[k]} == {}
    assert SET_ASIDE in found.values() and None in found.values()


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.floats(), st.integers(-(10**12), 10**12), st.floats().map(repr), st.decimals(allow_nan=False, allow_infinity=False).map(str), st.text(max_size=12)))
def test_any_number_or_text_means_the_same(value):
    for name in ("salario_cliente", "edad_cliente", "saldo_principal", "tendencia_ingresos", "tipo_credito"):
        assert Field.of(field_entry(PORTFOLIO.columns[name])).read(value) == cell_of(value, PORTFOLIO, name), (name, value)


EXPRESSIONS = ["a / b", "log(a) + b", "log1p(a) * -b", "sqrt(a) - abs(b)", "min(a, b)", "max(a, 2)", "a ** b", "1 / (1 / a)", "min(a, b, 1)", "max(a, b, -a, 0.5)", "min(1 / a, b) ** 3", "a - a / b", "2.5"]


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_expressions_give_what_load_gives(expression):
    numbers = [0.0, -0.0, 1.0, -1.0, 2.0, 0.5, -0.5, 3.0, -3.0, 1e-308, 1e308, -1e308, 710.0, 1e5, math.nan]
    a, b = (x.ravel() for x in np.meshgrid(numbers, numbers))
    expected = np.broadcast_to(np.asarray(evaluate(expression, {"a": a, "b": b}), dtype=float), a.shape)
    cells = {k: [None if math.isnan(x) else float(x) for x in v] for k, v in (("a", a), ("b", b))}
    found = [math.nan if x is None else x for x in Derived("x", expression).column(cells, len(a))]
    np.testing.assert_allclose(found, expected, rtol=1e-14, equal_nan=True)


@pytest.mark.parametrize("expression", ["__import__('os')", "a.b", "a if a else 1", "[a]", "f'{a}'", "lambda: a", "log(a, b)", "min(a)", "a and b", "a <= b", "log()", "log(*a)", "min(a, key=b)", "a << 2", "1j"])
def test_expressions_run_no_code(expression):
    with pytest.raises(ScorerError, match="allowed are"):
        Derived("x", expression)


# --- scoring -----------------------------------------------------------------------------------------------------------------------


def test_a_frame_is_scored_as_load_and_numpy_do(model, raw):
    assert np.abs(model.score(raw)["pd"] - reference_pd(CARD, raw, PORTFOLIO)).max() < 1e-12


def test_cleaned_and_reported_cells_score_alike(model, raw):
    loans, _ = load.clean(raw, PORTFOLIO)
    scored = model.score(loans)
    assert scored["pd"].tolist() == model.score(as_reported(loans))["pd"].tolist()
    assert np.abs(scored["pd"] - reference_pd(CARD, loans, PORTFOLIO)).max() < 1e-12


def test_cells_survive_csv_and_parquet(model, raw, tmp_path):
    raw.to_csv(tmp_path / "a.csv", index=False)
    loans, _ = load.clean(raw, PORTFOLIO)
    loans.to_parquet(tmp_path / "a.parquet")
    assert model.score(pd.read_csv(tmp_path / "a.csv"))["pd"].tolist() == model.score(raw)["pd"].tolist()
    assert model.score(pd.read_parquet(tmp_path / "a.parquet"))["pd"].tolist() == model.score(loans)["pd"].tolist()


def test_alone_in_a_batch_and_through_the_api_alike(model, client, raw):
    some = raw.sample(200, random_state=1)
    together = model.score(some)["pd"].tolist()
    assert [model.score(some.iloc[[i]])["pd"].iloc[0] for i in range(40)] == together[:40]
    assert client.post("/predict", content=as_body(some)).json()["pd"] == together
    assert [client.post("/predict", content=as_body(some.iloc[[i]])).json()["pd"][0] for i in range(40)] == together[:40]


def test_another_portfolio_is_scored_without_code():
    accounts = pd.DataFrame({"LIMIT_BAL": [20_000, "90000.0", None], "EDUCATION": [2, 5, "7"], "AGE": [24.0, 40.0, np.nan]})
    assert np.abs(Scorer(UCI_CARD).score(accounts)["pd"] - reference_pd(UCI_CARD, accounts, UCI)).max() < 1e-12


def test_score_band_and_index(model, raw):
    scored = model.score(raw.set_index(raw.index * 3 + 5))
    points = 600 + 40 / math.log(2) * (np.log((1 - scored["pd"]) / scored["pd"]) - math.log(20))
    assert list(scored) == ["pd", "score", "band", "reasons"] and scored.index.tolist() == (raw.index * 3 + 5).tolist()
    assert (scored["score"] - points).abs().max() <= 0.5 + 1e-6
    assert scored["band"].tolist() == np.select([scored["pd"] < 0.04, scored["pd"] >= 0.09], ["approve", "refuse"], "review").tolist()
    assert set(scored["band"]) == {"approve", "review", "refuse"}


def test_reasons_add_up(model, raw):
    n = len(raw)
    log_odds, parts = model.model.weigh(model.cells({c: raw[c].tolist() for c in model.model.inputs}, n), n)
    lost = np.sum(list(scorer.points_lost(model, parts).values()), axis=0)
    points = [model.points.of(z) for z in log_odds]
    np.testing.assert_allclose(scorer.best_score(model) + lost, points, atol=1e-9)
    reasons = scorer.reasons_of(model, parts, n, k=3, lang="en")
    assert all(len(r) <= 3 and all(x["points"] < 0 for x in r) and r == sorted(r, key=lambda x: x["points"]) for r in reasons)
    assert "Age" in {x["label"] for r in reasons for x in r}


def test_an_empty_frame_has_no_scores(model, raw):
    assert len(model.score(raw.head(0))) == 0


def test_a_frame_without_a_column_is_refused_with_the_likely_name(model, raw):
    with pytest.raises(ScorerError, match=r"(?s)huella_consulta.*renamed to 'huela_consulta'"):
        model.score(raw.rename(columns={"huella_consulta": "huela_consulta"}))


def test_extremes_stay_finite(model):
    rows = [{"total_otros_prestamos": 1e8, "salario_cliente": 300_000}, {"puntaje_datacredito": 1e308}, {"saldo_principal": 1.7e308, "huella_consulta": 1.7e308}]
    assert all(0 <= p <= 1 for p in model.pds(rows))


# --- models as training writes them ------------------------------------------------------------------------------------------------


def shared_accounts() -> pd.DataFrame:
    "The accounts of the second portfolio, where the file is at hand."
    path = HERE.parents[1] / "shared" / "data" / "uci_credit_card.csv"
    if not path.is_file():
        pytest.skip(f"{path.name} is not in ../shared/data")
    return load.read_loans(path, UCI)


GAPS = Portfolio.from_dict(  # a number that has one value, or none, or was set aside: only the gap tells
    {
        "schema": 1, "name": "gaps", "target": "paid", "good": "yes",
        "columns": {
            "paid": {"type": "category", "levels": ["yes", "no"], "known": "outcome"},
            "rate": {"type": "ratio", "min": 0, "max": 10, "outside": "missing"},
            "x": {"type": "money"},
            "town": {"type": "category"},
        },
    }
)  # fmt: skip


def gap_loans(n: int = 900) -> pd.DataFrame:
    draw = np.random.default_rng(0)
    rate = draw.choice([2.5, 99.0, np.nan], n, p=[0.6, 0.1, 0.3])
    town = draw.choice(["Cali", "Pasto", "Leticia", None], n, p=[0.6, 0.35, 0.01, 0.04])
    bad = draw.random(n) < np.where(np.isnan(rate), 0.9, np.where(rate > 10, 0.5, 0.05))
    return pd.DataFrame({"paid": np.where(bad, "no", "yes"), "rate": rate, "x": draw.lognormal(3, 2, n), "town": town})


RAWS = {"pago_atiempo": (PORTFOLIO, sample_loans), "uci_credit_card": (UCI, shared_accounts), "gaps": (GAPS, gap_loans)}


@pytest.fixture(scope="module", params=RAWS)
def lent(request) -> tuple[Portfolio, pd.DataFrame, pd.DataFrame]:
    "A portfolio, its raw loans, and the same cleaned, with `bad`."
    portfolio, read = RAWS[request.param]
    raw = read()
    return portfolio, raw, load.clean(raw, portfolio)[0]


def odd_rows(raw: pd.DataFrame, portfolio: Portfolio) -> pd.DataFrame:
    "Loans with cells that training never saw: other levels, words, codes, numbers out of range, nothing at all."
    wanted = ["77", "missing", "special", "unseen", "", None, " 4.0 ", 4, -1, 0, 7, 121, 1e300, -1e300, 0.1, "8315", "n/a"]
    columns = {c.name: [wanted[(i + k) % len(wanted)] for i in range(3 * len(wanted))] for k, c in enumerate(portfolio.columns.values()) if c.known == "application" and c.type != "date"}
    usual = raw.head(3 * len(wanted)).reset_index(drop=True).astype(object)
    some = np.random.default_rng(1).random((len(usual), len(columns))) < 0.5
    return usual.assign(**{c: usual[c].where(some[:, k], pd.Series(cells, dtype=object)) for k, (c, cells) in enumerate(columns.items())})


def small_models(portfolio: Portfolio) -> dict[str, list]:
    "The candidates of training, small, and some that are nearly them."
    found = {c.name: c.steps(portfolio, 0) for c in CANDIDATES}
    found["random_forest"][-1].set_params(n_estimators=20, max_features=0.7)
    found["deep_forest"] = [tree_encoding(portfolio), RandomForestClassifier(5, random_state=1)]
    found["sparse_logistic"] = [linear_encoding(portfolio), LogisticRegression(l1_ratio=1, C=0.05, solver="liblinear")]
    found["short_xgboost"] = [tree_encoding(portfolio), XGBClassifier(n_estimators=20, max_depth=6, learning_rate=0.5)]
    return found


MODEL_NAMES = [*small_models(PORTFOLIO)]


def fitted(portfolio: Portfolio, loans: pd.DataFrame, steps: list) -> Pipeline:
    encode, model = steps
    return Pipeline([("clean", Cleaner(portfolio)), ("encode", encode), ("model", model)]).fit(loans, loans["bad"].to_numpy())


def saved(folder: Path, pipeline: Pipeline, loans: pd.DataFrame, portfolio: Portfolio) -> Scorer:
    "The scorer of a pipeline, by way of its file."
    card = scorecard_file(pipeline, loans, portfolio, name="m", cutoffs={"approve": 0.05, "refuse": 0.1})
    load.write_artifact(folder, "scorecard.json", card)
    return Scorer.load(folder)


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_the_file_scores_as_the_pipeline_does(name, lent, tmp_path):
    portfolio, raw, loans = lent
    pipeline = fitted(portfolio, loans.head(3000), small_models(portfolio)[name])
    served = saved(tmp_path, pipeline, loans.head(3000), portfolio)
    for frame in (raw.head(12_000), loans.head(12_000), as_reported(loans).head(2000)):
        assert np.abs(served.score(frame)["pd"].to_numpy() - pipeline.predict_proba(frame)[:, 1]).max() < 1e-9
    odd = odd_rows(raw, portfolio)
    known = odd.where(~odd.isin([1e300, -1e300]), 1e30)  # training's trees refuse what single precision can't hold
    assert np.abs(served.score(known)["pd"].to_numpy() - pipeline.predict_proba(known)[:, 1]).max() < 1e-9
    assert served.score(odd)["pd"].between(0, 1).all() and len(served.score(raw.head(0))) == 0


def test_rounds_after_the_best_do_not_count(tmp_path):
    raw = sample_loans(3000)
    loans = load.clean(raw, PORTFOLIO)[0]
    encoded = Pipeline([("clean", Cleaner(PORTFOLIO)), ("encode", tree_encoding(PORTFOLIO))]).fit(loans)
    table, bad = encoded.transform(loans), loans["bad"].to_numpy()
    early = XGBClassifier(n_estimators=200, learning_rate=0.5, early_stopping_rounds=3).fit(table[:2000], bad[:2000], eval_set=[(table[2000:], bad[2000:])], verbose=False)
    assert early.best_iteration + 1 < early.get_booster().num_boosted_rounds()
    pipeline = Pipeline([*encoded.steps, ("model", early)])
    assert np.abs(saved(tmp_path, pipeline, loans, PORTFOLIO).score(raw)["pd"] - pipeline.predict_proba(raw)[:, 1]).max() < 1e-9


@pytest.mark.parametrize("sign", [-1, 1])
def test_a_split_between_missing_and_all_others_is_served(sign, tmp_path):
    raw = sample_loans(3000)
    loans = load.clean(raw, PORTFOLIO)[0]
    pipeline = fitted(PORTFOLIO, loans, small_models(PORTFOLIO)["short_xgboost"])
    before = pipeline.predict_proba(raw)[:, 1]
    model = json.loads(pipeline[-1].get_booster().save_raw("json"))
    tree = model["learner"]["gradient_booster"]["model"]["trees"][0]
    tree["split_conditions"][0] = sign * math.inf  # as newer versions of xgboost write it
    pipeline[-1].load_model(bytearray(json.dumps(model), "utf-8"))
    expected = pipeline.predict_proba(raw)[:, 1]
    assert np.abs(expected - before).max() > 1e-3
    assert np.abs(saved(tmp_path, pipeline, loans, PORTFOLIO).score(raw)["pd"] - expected).max() < 1e-9


@pytest.mark.parametrize("name", ["base_rate", "random_forest", "xgboost"])
def test_a_model_without_parts_is_served_without_reasons(name, tmp_path):
    loans = load.clean(sample_loans(2000), PORTFOLIO)[0]
    served = saved(tmp_path, fitted(PORTFOLIO, loans, small_models(PORTFOLIO)[name]), loans, PORTFOLIO)
    with testclient.TestClient(create_app(served)) as client:
        found = client.post("/predict?explain=3", json={"data": [EXAMPLE, EXAMPLE | {"tipo_laboral": "Empleado\u00e1\\"}]}).json()
        described = client.get("/model").json()
        assert client.get("/openapi.json").status_code == 200
    assert found["reasons"] == [[], []] and found["pd"] == served.pds([EXAMPLE, EXAMPLE | {"tipo_laboral": "Empleado\u00e1\\"}])
    assert (described["reasons"], described["best_score"]) == (False, None) and served.score(loans.head(3))["reasons"].tolist() == ["", "", ""]


@pytest.fixture(scope="module")
def tree_card() -> dict[str, dict]:
    "Scorecards of trees, by kind."
    loans = load.clean(sample_loans(2000), PORTFOLIO)[0]
    models = small_models(PORTFOLIO)
    return {k: scorecard_file(fitted(PORTFOLIO, loans, models[name]), loans, PORTFOLIO, name=name, cutoffs={"approve": 0.05, "refuse": 0.1}) for k, name in (("forest", "deep_forest"), ("xgboost", "short_xgboost"))}


def changed(part, path: list, value):
    "A copy of plain data with one value changed."
    if not path:
        return value
    copy = part.copy()
    copy[path[0]] = changed(part[path[0]], path[1:], value)
    return copy


LEAF = {"feature": [-2], "threshold": [-2.0], "left": [-1], "right": [-1], "missing_left": [0], "value": [0.1]}
TREES_REFUSED = {
    "kind": ("forest", ["kind"], "lightgbm", "known are forest, xgboost"),
    "no trees": ("forest", ["model"], [], "has no trees"),
    "no nodes": ("forest", ["model", 0], dict.fromkeys(LEAF, []), "has no nodes"),
    "lengths": ("forest", ["model", 0], LEAF | {"value": [0.1, 0.2]}, "different lengths"),
    "a list is missing": ("forest", ["model", 0], {"feature": [-2]}, "not as agreed"),
    "a circle": ("forest", ["model", 0, "left", 0], 0, "leads nowhere"),
    "a child too far": ("forest", ["model", 0, "right", 0], 10**6, "leads nowhere"),
    "a column too far": ("forest", ["model", 0, "feature", 0], 10**6, "leads nowhere"),
    "text as threshold": ("forest", ["model", 0, "threshold", 0], "7", "finite number"),
    "another leaf": ("forest", ["model", 0], LEAF | {"value": [0.2]}, "golden rows get another PD"),
    "what is read": ("forest", ["columns", 0, "is"], "rank", "which it can't be"),
    "a number as levels": ("forest", ["columns", 0], {"column": "edad_cliente", "is": "level", "levels": ["1"], "unseen": False}, "which it can't be"),
    "an unknown column": ("forest", ["columns", 0, "column"], "nobody", "not among its fields"),
    "an empty model": ("xgboost", ["model"], {}, "can't read the scorecard's trees"),
    "no model": ("xgboost", ["model"], None, "can't read the scorecard's trees"),
    "another objective": ("xgboost", ["model", "learner", "objective"], {"name": "reg:squarederror", "reg_loss_param": {"scale_pos_weight": "1"}}, "expected 'binary:logistic'"),
    "another width": ("xgboost", ["columns"], [{"column": "edad_cliente", "is": "number"}], "columns; expected"),
}


@pytest.mark.parametrize("kind, path, value, words", TREES_REFUSED.values(), ids=TREES_REFUSED)
def test_trees_that_cannot_be_trusted_are_refused_in_words(kind, path, value, words, tree_card, tmp_path):
    with pytest.raises(ScorerError, match=words):
        Scorer.load(written_card(tmp_path, changed(tree_card[kind], ["trees", *path], value)))


def test_a_missing_library_is_named(tree_card, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "xgboost", None)
    with pytest.raises(ScorerError, match="pip install xgboost-cpu"):
        Scorer.load(written_card(tmp_path, tree_card["xgboost"]))
    with testclient.TestClient(create_app(tmp_path)) as client:
        assert client.get("/ready").status_code == 503 and "pip install xgboost-cpu" in client.get("/ready").json()["detail"]
    assert Scorer.load(written_card(tmp_path, tree_card["forest"])).pds([EXAMPLE])


# --- what is not loaded ------------------------------------------------------------------------------------------------------------


def written_card(folder: Path, card: dict) -> Path:
    (folder / "scorecard.json").write_text(json.dumps(card), encoding="utf-8")
    return folder


def broken_term(**change) -> dict:
    return {"terms": [TERMS[0] | change]}


REFUSED_CARDS = {
    "golden": ({"intercept": -3.1 + 1e-6}, "50 of 50 golden rows"),
    "no golden rows": ({"golden": []}, "no golden rows"),
    "golden without pd": ({"golden": [{"row": {}}]}, "golden rows are not as agreed"),
    "schema": ({"schema": 2}, "schema 1"),
    "another kind": ({"terms": None, "neurons": {}}, "can't be served by this version"),
    "cut-offs": ({"cutoffs": {"approve": 0.5, "refuse": 0.1}}, "approve <= refuse"),
    "not finite": (broken_term(missing=math.nan), "is not JSON"),
    "text for a number": (broken_term(missing="0.1"), "finite number"),
    "edges": (broken_term(edges=[5, 2, 8]), "ascending edges"),
    "values": (broken_term(values=[1, 2]), "one value more than edges"),
    "kind": (broken_term(kind="spline"), "known are bins, linear, levels"),
    "column": (broken_term(column="nobody"), "numeric column|not among its fields"),
    "bins of text": (broken_term(column="tipo_laboral"), "numeric column"),
    "no value": ({"terms": [{k: v for k, v in TERMS[0].items() if k != "missing"}]}, "not as agreed"),
    "code": ({"derived": [{"name": "log_capital", "expression": "__import__('os').getcwd()"}]}, "allowed are"),
    "not an expression": ({"derived": [{"name": "log_capital", "expression": "a +"}]}, "not as agreed"),
}


@pytest.mark.parametrize("change, words", REFUSED_CARDS.values(), ids=REFUSED_CARDS)
def test_a_scorecard_that_cannot_be_trusted_is_refused_in_words(tmp_path, raw, change, words):
    card = {k: v for k, v in (golden_card(raw) | change).items() if v is not None}
    with pytest.raises(ScorerError, match=words):
        Scorer.load(written_card(tmp_path, card))


def test_a_golden_row_may_differ_by_a_billionth_and_no_more(tmp_path, raw):
    card = golden_card(raw)
    for by, refused in ((0.9e-9, False), (1.1e-9, True)):
        first = card["golden"][0] | {"pd": card["golden"][0]["pd"] + by}
        folder = written_card(tmp_path, card | {"golden": [first, *card["golden"][1:]]})
        if not refused:
            Scorer.load(folder)
            continue
        with pytest.raises(ScorerError, match="1 of 50 golden rows .* row 0 by 1.1e-09"):
            Scorer.load(folder)


def test_the_file_is_the_one_that_the_run_wrote(tmp_path, raw):
    folder = written_card(tmp_path, golden_card(raw))
    assert not Scorer.load(folder).confirmed
    sha256 = Scorer.load(folder).sha256
    (folder / "run.json").write_text(json.dumps({"artifacts": {"scorecard.json": {"sha256": sha256, "bytes": 1}}}))
    assert Scorer.load(folder).confirmed
    written_card(folder, golden_card(raw) | {"cutoffs": {"approve": 0.2, "refuse": 0.9}})
    with pytest.raises(ScorerError, match="not the file that its run wrote"):
        Scorer.load(folder)


@pytest.mark.parametrize("content, words", [(None, "nbs/03_training.ipynb"), ("{", "is not JSON"), ("[" * 100_000, "is not JSON"), ("[]", "schema 1"), ("\xff", "is not JSON")])
def test_a_damaged_file_is_refused_in_words(tmp_path, content, words):
    if content is not None:
        (tmp_path / "scorecard.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(ScorerError, match=words):
        Scorer.load(tmp_path)


def test_a_run_is_found_where_load_finds_it(monkeypatch, tmp_path):
    for home in (None, str(tmp_path)):
        monkeypatch.setenv("CREDITRISK_HOME", home) if home else monkeypatch.delenv("CREDITRISK_HOME", raising=False)
        for folder in (Path.cwd(), tmp_path):
            monkeypatch.chdir(folder)
            assert scorer.run_path("output/latest") == load.run_path("output/latest") and scorer.run_path(tmp_path / "a") == tmp_path / "a"


# --- the API -----------------------------------------------------------------------------------------------------------------------


def test_twelve_fields_are_enough(client, model):
    found = client.post("/predict", json={"data": [EXAMPLE]}).json()
    assert found["pd"] == model.pds([EXAMPLE]) and found["predictions"] == [1] and found["band"] in (["approve"], ["review"])
    assert found["absent"] == [["tipo_credito", "saldo_principal", "promedio_ingresos_datacredito"]] and found["set_aside"] == [[]]
    assert found["model"] == {"name": "scorecard", "portfolio": "pago_atiempo", "version": model.sha256[:12], "sha256": model.sha256}
    assert client.post("/predict", json={"data": [EXAMPLE | {"saldo_principal": None}]}).json() | {"request_id": found["request_id"]} == found


def test_a_value_that_counts_as_missing_is_named(client):
    sent = EXAMPLE | {"edad_cliente": 121, "salario_cliente": 2.2e10, "tendencia_ingresos": "8315", "puntaje_datacredito": 0, "tipo_credito": 4}
    assert client.post("/predict", json={"data": [sent]}).json()["set_aside"] == [["edad_cliente", "salario_cliente", "puntaje_datacredito", "tendencia_ingresos"]]


@pytest.mark.parametrize(("level", "aside"), [(99, ["tipo_credito"]), ("Cuatro", ["tipo_credito"]), (4, []), ("4.0", []), (None, [])])
def test_a_level_that_the_dictionary_does_not_know_is_named(client, level, aside):
    assert client.post("/predict", json={"data": [EXAMPLE | {"tipo_credito": level}]}).json()["set_aside"] == [aside]


def test_predictions_follow_the_cut_off(client, raw):
    found = client.post("/predict", content=as_body(raw)).json()
    assert found["predictions"] == [int(p < 0.09) for p in found["pd"]] and set(found["predictions"]) == {0, 1}


def test_reasons_on_demand_in_two_languages(client):
    es, en = (client.post(f"/predict?explain=2&lang={lang}", json={"data": [EXAMPLE]}).json()["reasons"][0] for lang in ("es", "en"))
    assert len(es) == 2 and [r["points"] for r in es] == [r["points"] for r in en] and [r["label"] for r in es] != [r["label"] for r in en]
    assert "reasons" not in client.post("/predict", json={"data": [EXAMPLE]}).json()


def one(**change) -> bytes:
    return json.dumps({"data": [EXAMPLE | change]}).encode()


SECRET = "Zoila Vaca 79461258"  # must appear in no answer
WRONG = {  # body, status, words that the answer has
    "NaN": (b'{"data": [{"edad_cliente": NaN}]}', 400, "not JSON"),
    "Infinity": (b'{"data": [{"edad_cliente": -Infinity}]}', 400, "not JSON"),
    "1e400": (b'{"data": [{"edad_cliente": 1e400}]}', 422, "row 0, edad_cliente: is out of range"),
    "1e400 without range": (b'{"data": [{"huella_consulta": 1e400}]}', 422, "huella_consulta"),
    "huge int": (b'{"data": [{"edad_cliente": ' + b"9" * 5000 + b"}]}", 422, "out of range"),
    "huge int as level": (b'{"data": [{"tipo_credito": ' + b"9" * 5000 + b"}]}", 422, "tipo_credito"),
    "deep list": (b'{"data": ' + b"[" * 200_000, 400, "nested too deeply"),
    "deep object": (b'{"data": [' + b'{"edad_cliente":' * 100_000, 400, "nested too deeply"),
    "deep and closed": (b'{"data": [' + b"[" * 500 + b"]" * 500 + b"]}", 422, "row 0: is a list"),
    "list of numbers": (b"[1, 2, 3]", 422, 'expected {"data"'),
    "list of objects": (b"[{}]", 422, 'expected {"data"'),
    "rows are numbers": (b'{"data": [1, 2, 3]}', 422, "row 2: is a number"),
    "row is null": (b'{"data": [null]}', 422, "row 0: is null"),
    "empty row": (b'{"data": [{}]}', 422, "says nothing that the model uses"),
    "nothing but nulls": (b'{"data": [{"edad_cliente": null, "tipo_credito": "n/a"}]}', 422, "says nothing"),
    "one empty row of two": (b'{"data": [{"edad_cliente": 40}, {"cuota_pactada": 4}]}', 422, "row 1: says nothing"),
    "duplicate key": (b'{"data": [{"edad_cliente": 40, "edad_cliente": 41}]}', 422, "edad_cliente: is given more than once"),
    "duplicate key and colons": (b'{"data": [{"edad_cliente": 40, "tipo_credito": "a:b", "edad_cliente": 41}]}', 422, "more than once"),
    "duplicate key and escapes": (b'{"data": [{"edad_cliente": 40, "tipo_credito": "\\u003a", "edad_cliente": 41}]}', 422, "more than once"),
    "duplicate data": (b'{"data": [{"edad_cliente": 40}], "data": [{"edad_cliente": 41}]}', 422, "more than one 'data'"),
    "beside data": (b'{"data": [{"edad_cliente": 40}], "model": 1}', 422, "keys beside it"),
    "empty list": (b'{"data": []}', 422, "an empty list"),
    "empty object": (b"{}", 422, "without data"),
    "data is null": (b'{"data": null}', 422, "data is null"),
    "data is an object": (b'{"data": {"edad_cliente": 40}}', 422, "data is an object"),
    "no body": (b"", 400, "not JSON"),
    "half a body": (b'{"data": [{"edad', 400, "not JSON"),
    "not UTF-8": (b'{"data": [{"tipo_credito": "\xff"}]}', 400, "UTF-8"),
    "UTF-16": ('{"data": [{"edad_cliente": 40}]}'.encode("utf-16"), 400, "not JSON"),
    "lone surrogate": (b'{"data": [{"\\ud800": 1, "edad_cliente": 40}]}', 422, "is not a field"),
    "misspelt field": (one(huela_consulta=3), 422, "did you mean 'huella_consulta'?"),
    "capital letters": (one(EDAD_CLIENTE=3), 422, "did you mean 'edad_cliente'?"),
    "unknown field": (one(zzzz=SECRET), 422, "zzzz: is not a field"),
    "long name": (json.dumps({"data": [EXAMPLE | {"x" * 1_000_000: 1}]}).encode(), 422, "is not a field"),
    "outcome": (one(puntaje=95.2), 422, "puntaje: is known only after the loan was granted"),
    "target": (one(Pago_atiempo=1), 422, "known only after"),
    "text for a number": (one(salario_cliente="2500000"), 422, "salario_cliente: is text; expected a number (COP a month)"),
    "bool for a number": (one(plazo_meses=True), 422, "plazo_meses: is true or false"),
    "bool for a level": (one(tipo_laboral=False), 422, "tipo_laboral: is true or false"),
    "list for a level": (one(tipo_laboral=["Empleado"]), 422, "tipo_laboral: is a list"),
    "object for a number": (one(plazo_meses={"a": 1}), 422, "plazo_meses: is an object"),
    "long level": (one(tipo_laboral="x" * 201), 422, "longer than 200"),
    "out of range": (one(edad_cliente=17), 422, "from 18 to 100, or a code (121 = birth date unknown"),
    "below a range without top": (one(huella_consulta=-1), 422, "huella_consulta: is out of range; expected a number from 0"),
    "not a date": (one(fecha_prestamo="31/12/2025"), 422, "YYYY-MM-DD"),
    "a future date": (one(fecha_prestamo="2999-01-01"), 422, "not in the future"),
    "an early date": (one(fecha_prestamo="1999-12-31"), 422, "from 2000-01-01"),
    "too many rows": (json.dumps({"data": [{"edad_cliente": 40}] * 10_001}).encode(), 422, "10,001 rows; at most 10,000"),
    "too large": (b" " * 8_000_001, 413, "limit of 8,000,000 bytes"),
    "values stay secret": (one(tipo_laboral=[SECRET], salario_cliente=SECRET, fecha_prestamo=SECRET), 422, "3 faults"),
}


@pytest.mark.parametrize("body, status, words", WRONG.values(), ids=WRONG)
def test_wrong_requests_are_refused_in_words(client, body, status, words):
    found = client.post("/predict", content=body)
    content = found.json()
    text = " ".join([content["detail"], *(e["message"] for e in content["errors"])])
    assert found.status_code == status and words in text and SECRET not in found.text and len(found.content) < 50_000


def test_every_fault_is_named_at_once_up_to_a_hundred(client):
    rows = [{"edad_cliente": 17, "plazo_meses": "x", "nada": 1, "puntaje": 9}, EXAMPLE, {"huella_consulta": -1}]
    found = client.post("/predict", json={"data": rows}).json()["errors"]
    assert [(e["row"], e["field"], e["code"]) for e in found] == [(0, "edad_cliente", "range"), (0, "plazo_meses", "type"), (0, "nada", "unknown"), (0, "puntaje", "outcome"), (2, "huella_consulta", "range")]
    many = client.post("/predict", json={"data": [{f"k{i}": 1} for i in range(10_000)]}).json()
    assert len(many["errors"]) == 100 and "first 100" in many["detail"]


@pytest.mark.parametrize("query", ["explain=x", "explain=-1", "explain=101", "explain=" + "9" * 5000, "explain=", "lang=fr", "explian=2", "explain=1e2"])
def test_wrong_queries_are_refused_in_words(client, query):
    found = client.post(f"/predict?{query}", json={"data": [EXAMPLE]})
    assert found.status_code == 422 and "explain=0 to 100" in found.json()["detail"]


def test_other_methods_and_paths(client):
    assert client.get("/predict").status_code == 405 and client.get("/nowhere").status_code == 404


VALUES = st.one_of(st.none(), st.booleans(), st.integers(), st.integers(-300, 1000), st.floats(), st.text(max_size=8), st.sampled_from(WORDS + ["a:b", '"', "\\", "2025-01-01"]), st.just([]), st.just({}), st.just(1e308))
NAMES = st.one_of(st.sampled_from([*(f["name"] for f in CARD["fields"]), "puntaje", "Pago_atiempo"]), st.text(max_size=5))


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(st.tuples(NAMES, VALUES), max_size=6), max_size=4), st.integers(0, 400), st.binary(max_size=2), st.booleans())
def test_the_fast_path_takes_only_what_the_careful_one_does(client, model, rows, cut, noise, spoil):
    body = ('{"data": [' + ", ".join("{" + ", ".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in row) + "}" for row in rows) + "]}").encode()
    if spoil:
        body = body[: cut % (len(body) + 1)] + noise + body[cut % (len(body) + 1) :]
    status = client.post("/predict", content=body).status_code
    try:
        careful = careful_rows(model, body)
    except Refusal as refusal:
        assert status == refusal.status in (400, 422)
    else:
        intake = Intake(model)
        rows, weighed = intake.read(body)
        read = [*rows()]
        given_ = {f.name: column for f, column in zip(intake.fields, zip(*careful, strict=True), strict=True)}
        assert status == 200 and len(read) == len(careful) and weighed[0] == model.log_odds(model.cells(given_, len(careful)), len(careful))
        cells = model.cells(given_, len(careful))
        assert weighed[1] == [[c for c in cells if cells[c][i] is None] for i in range(len(read))]
        levels = {c: model.fields[c].levels for c in cells if not model.fields[c].numeric and model.fields[c].levels}
        assert weighed[2] == [[c for c, column in cells.items() if column[i] is SET_ASIDE or (c in levels and column[i] is not None and column[i] not in levels[c])] for i in range(len(read))]


def test_a_server_without_a_model_says_so_and_recovers(tmp_path, raw):
    with testclient.TestClient(create_app(tmp_path)) as client:
        assert client.get("/health").status_code == 200
        assert client.get("/ready").status_code == 503 and "nbs/03_training.ipynb" in client.get("/ready").json()["detail"]
        assert client.post("/predict", json={"data": [EXAMPLE]}).status_code == client.get("/model").status_code == 503
        assert "/predict" not in client.get("/openapi.json").json()["paths"]
        (tmp_path / "model_card.md").write_text("# Card")
        written_card(tmp_path, golden_card(raw))
        assert client.get("/ready").json()["ready"] and client.get("/model").json()["card"] == "# Card" and client.post("/predict", json={"data": [EXAMPLE]}).status_code == 200
        assert "/predict" in client.get("/openapi.json").json()["paths"]


def test_the_model_is_described(client, model):
    found = client.get("/model").json()
    assert found["sha256"] == model.sha256 and found["cutoffs"] == {"approve": 0.04, "refuse": 0.09} and found["golden_rows"] == 50
    assert {f["name"] for f in found["fields"] if f["used"]} == set(model.model.inputs) and "golden" not in found
    assert found["reasons"] and found["best_score"] == round(scorer.best_score(model)) and found["card"] is None


def test_openapi_is_valid_and_says_what_the_fields_are(client):
    document = client.get("/openapi.json").json()
    from fastapi.openapi.models import OpenAPI

    OpenAPI(**document)
    schemas = document["components"]["schemas"]
    for schema in schemas.values():
        Draft202012Validator.check_schema(schema)
    properties = schemas["Application"]["properties"]
    assert list(properties) == [f["name"] for f in CARD["fields"]] and "puntaje" not in properties
    assert properties["plazo_meses"]["anyOf"][0] == {"type": "number", "minimum": 1, "maximum": 120} and "birth date unknown" in properties["edad_cliente"]["description"]
    validator = Draft202012Validator({"$ref": "#/components/schemas/Applications", "components": document["components"]})
    example = schemas["Application"]["example"]
    for data in ([EXAMPLE], [example], [EXAMPLE | {"edad_cliente": 121}]):
        validator.validate({"data": data})
        found = client.post("/predict?explain=3", json={"data": data})
        assert found.status_code == 200
        Draft202012Validator({"$ref": "#/components/schemas/Scores", "components": document["components"]}).validate(found.json())
    for wrong in ([], [{}], [{"edad_cliente": 17}], [{"nada": 1}], [{"plazo_meses": "12"}]):
        assert not validator.is_valid({"data": wrong}) and client.post("/predict", json={"data": wrong}).status_code == 422


def test_the_documentation_shows_no_customer(client, raw):
    text = client.get("/openapi.json").text + client.get("/model").text
    assert not any(f"{v:.2f}".rstrip("0").rstrip(".") in text for v in raw["salario_cliente"].head(50) if v > 300_000 and v % 100_000)


# --- the process -------------------------------------------------------------------------------------------------------------------


def python(code: str, **environment) -> str:
    return subprocess.run([sys.executable, "-c", code], env=os.environ | environment, capture_output=True, text=True, check=True, timeout=60).stdout.strip()


HEAVY = "print([m for m in ('numpy', 'pandas', 'sklearn', 'scipy', 'matplotlib', 'joblib', 'xgboost') if m in __import__('sys').modules])"


def test_import_is_light():
    assert python(f"import creditrisk.deploy; {HEAVY}") == "[]"


def test_serving_is_light_too(run):
    code = f"""
from creditrisk.deploy import app
from starlette.testclient import TestClient
with TestClient(app) as client:
    assert client.post('/predict?explain=2', json={{'data': [{EXAMPLE!r}]}}).status_code == 200
    assert client.get('/openapi.json').status_code == 200
{HEAVY}"""
    assert python(code, CREDITRISK_RUN_DIR=str(run)) == "[]"


def test_asking_for_the_app_loads_no_model(tmp_path):
    assert python("import creditrisk.deploy as d; a = d.app; print(a is d.app, hasattr(d, 'nothing'))", CREDITRISK_RUN_DIR=str(tmp_path / "nowhere")) == "True False"


@pytest.fixture(scope="module")
def server(run):
    "A real uvicorn on a loopback port, ended by its own process handle."
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "uvicorn", "creditrisk.deploy:app", "--host", "127.0.0.1", "--port", str(port), "--log-level", "warning"]
    process = subprocess.Popen(command, env=os.environ | {"CREDITRISK_RUN_DIR": str(run)}, stderr=subprocess.PIPE, text=True)
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(200):
            try:
                urllib.request.urlopen(f"{url}/ready", timeout=5).close()
                break
            except urllib.error.URLError:
                assert process.poll() is None, process.stderr.read()
                time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        errors = process.communicate(timeout=20)[1]
    assert "Traceback" not in errors, errors


def ask(url: str, body=None, **headers) -> tuple[int, dict]:
    request = urllib.request.Request(url, data=body, headers={"content-type": "application/json"} | headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as found:
            return found.status, json.load(found)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def test_a_real_server_answers(server, model, raw):
    assert ask(f"{server}/health") == (200, {"alive": True})
    assert ask(f"{server}/predict", one())[1]["pd"] == model.pds([EXAMPLE])
    status, found = ask(f"{server}/predict?explain=4", as_body(raw))
    assert status == 200 and found["pd"] == model.score(raw)["pd"].tolist() and len(found["reasons"]) == len(raw)
    assert ask(f"{server}/predict", b"{")[0] == 400 and ask(f"{server}/predict", one(puntaje=1))[0] == 422


def test_a_real_server_refuses_a_large_body_also_in_chunks(server):
    host = server.removeprefix("http://")
    with closing(HTTPConnection(host, timeout=30)) as chunked:
        try:
            chunked.request("POST", "/predict", (b" " * 65_536 for _ in range(130)), {"Transfer-Encoding": "chunked"}, encode_chunked=True)
            with chunked.getresponse() as found:
                assert found.status == 413
        except (BrokenPipeError, ConnectionResetError):
            pass  # the server hung up on the rest, which is as good
    with closing(HTTPConnection(host, timeout=30)) as declared:
        declared.putrequest("POST", "/predict")
        declared.putheader("Content-Length", "9000000")
        declared.endheaders(b"{")
        with declared.getresponse() as found:
            assert found.status == 413
    assert ask(f"{server}/health")[0] == 200


def test_a_client_that_hangs_up_harms_nothing(server):
    host, port = server.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
    assert ask(f"{server}/predict", one())[0] == 200
