"""One model, however it is run: the pipeline, scorecard.json, SQL, polars, one row at a time; and the points and reasons that explain it."""

import sqlite3
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sqlalchemy import create_engine

from creditrisk import load
from creditrisk.features import Cleaner, linear_encoding
from creditrisk.load import DataError, Portfolio, sample_loans
from creditrisk.points import best_score, points_table, reason_codes, rounding_error, total_points, whole_points
from creditrisk.query import DIALECTS, VALUES, _literal, to_polars, to_query, to_sql
from creditrisk.scorecard import Scorecard, points, scorecard_file
from creditrisk.scorer import Scorer, points_lost, reasons_of
from creditrisk.scorer import best_score as scorers_best

HERE = Path(__file__).parent
MOST = 1e-9  # largest difference of a PD

QUIRKS = Portfolio.from_dict(  # awkward names and levels, codes in both kinds, every operation in derived columns
    {
        "schema": 1, "name": "quirks", "target": "paid", "good": "yes",
        "columns": {
            "paid": {"type": "category", "levels": ["yes", "no"], "known": "outcome"},
            'a "b" `c`': {"type": "money", "codes": {"-7": "unknown", "0.1": "unknown too"}, "min": -3, "max": 7.3, "outside": "missing"},
            "due": {"type": "money", "max": 1e6, "outside": "missing"},
            "pay": {"type": "money", "codes": {"9": "not declared"}},
            "stars": {"type": "ordinal", "min": 1, "max": 5, "outside": "missing", "codes": {"9": "refused"}},
            "select": {"type": "category", "levels": ["none", "d'Or", "4", "-2"], "codes": {"na": "not asked", "9": "refused"}, "outside": "missing"},
            "owner": {"type": "category", "levels": ["True", "False"]},
            "town": {"type": "category"},
        },
        "derived": {
            "ratio": {"expression": "due / pay", "type": "ratio"},
            "log": {"expression": "log1p(due) - log(pay)", "type": "ratio"},
            "least": {"expression": "min(due, pay * 2, 5) + max(-due, pay - 3)", "type": "ratio"},
            "root": {"expression": "sqrt(due - 1) + abs(pay) ** 0.5 - due ** -1", "type": "ratio"},
        },
    }
)  # fmt: skip


def quirky_loans(n: int = 3000) -> pd.DataFrame:
    draw = np.random.default_rng(0)
    frame = pd.DataFrame({
        'a "b" `c`': draw.choice([-7, 0.1, -99, 0.3, 1.1, 2.7, 1 / 3, np.nan], n), "due": draw.choice([0.0, 1, 2, 3, 5, 8, 2e6], n), "pay": draw.choice([0.0, 1, 3, 7, 9, 11], n),
        "stars": draw.choice([1.0, 2, 3, 4, 5, 9, 77, np.nan], n), "select": draw.choice(["none", "d'Or", "4", "-2", "na", "9", "stray"], n), "owner": draw.choice(["True", "False"], n),
        "town": draw.choice(["Cali", "Pasto", "Leticia", None], n, p=[0.5, 0.4, 0.003, 0.097]),
    })  # fmt: skip
    risk = frame["due"].clip(upper=8) / frame["pay"].clip(lower=1) + frame['a "b" `c`'].fillna(3).clip(-2, 3) + (frame["select"] == "d'Or") + (frame["stars"] > 5) + (frame["town"] == "Pasto") + (frame["owner"] == "True") - 3
    return frame.assign(paid=np.where(draw.random(n) < 1 / (1 + np.exp(-risk)), "no", "yes"))


def shared_accounts() -> pd.DataFrame:
    "The accounts of the second portfolio, where the file is at hand."
    path = HERE.parents[1] / "shared" / "data" / "uci_credit_card.csv"
    if not path.is_file():
        pytest.skip(f"{path.name} is not in ../shared/data")
    return load.read_loans(path, Portfolio.load(HERE / "portfolios" / "uci_credit_card.toml"), rows=6000)


RAWS = {
    "pago_atiempo": (Portfolio.load("pago_atiempo"), lambda: sample_loans(6000)),
    "uci_credit_card": (Portfolio.load(HERE / "portfolios" / "uci_credit_card.toml"), shared_accounts),
    "quirks": (QUIRKS, quirky_loans),
}
# a logarithm or a power may differ in its last bit between libraries: these columns are cut where no loan stands
BETWEEN = {"log": [-1.234, 0.567], "root": [1.2345, 3.4567]}
MODELS = {
    "scorecard": lambda p: ["passthrough", Scorecard(p, edges=BETWEEN)],
    "logistic": lambda p: [linear_encoding(p), LogisticRegression(C=0.1, max_iter=2000)],
}
CASES = [(p, m) for p in RAWS for m in MODELS]


@cache
def fitted(name: str, model: str) -> tuple[Portfolio, pd.DataFrame, Pipeline, dict]:
    "A portfolio, its raw loans, a pipeline fitted on them, and its scorecard.json."
    portfolio, read = RAWS[name]
    raw = read()
    loans = load.clean(raw, portfolio)[0]
    # all columns, also those that the dictionary keeps from models: more to get wrong
    wide = replace(portfolio, columns={k: replace(c, use=True) for k, c in portfolio.columns.items()}, derived={k: replace(c, use=True) for k, c in portfolio.derived.items()})
    encode, estimator = MODELS[model](wide)
    pipeline = Pipeline([("clean", Cleaner(wide)), ("encode", encode), ("model", estimator)]).fit(loans, loans["bad"].to_numpy())
    return wide, raw, pipeline, scorecard_file(pipeline, loans, wide, name=model, cutoffs={"approve": 0.05, "refuse": 0.1})


# --- the rows that tell models apart ------------------------------------------------------------------------------------------------


def around(number: float) -> list[float]:
    "A number and its two neighbours."
    return [number, np.nextafter(number, -np.inf), np.nextafter(number, np.inf)]


def odd_cells(field: dict, card: dict) -> list:
    "Cells of a field at which something may change: edges, codes, limits, levels, strays, nothing."
    terms = [t for t in card["terms"] if t["column"] == field["name"]]
    if field["type"] in ("money", "count", "ratio", "score") or (field["type"] == "ordinal" and not field["levels"]):
        marks = [e for t in terms for e in t.get("edges", [])] + [float(c) for c in field["codes"]] + [field[k] for k in ("min", "max") if field[k] is not None] + [0.0, 1.0]
        return [x for mark in marks for x in around(mark)] + [1e12, -1e12, 1e30, -1e30, np.inf, -np.inf, np.nan]
    known = [k for t in terms for k in t["values"]] + [*(field["levels"] or []), *field["codes"]]
    return [*known, *(f" {k} " for k in known), *(f"{k}.0" for k in known), "77", "8.50", "1.2.0", "--", "missing", "special", "unseen", "true", "FALSE", "", "n/a", "NaN", "None", "-", "á'\"`;--", None]


def odd_rows(raw: pd.DataFrame, card: dict, n: int = 0) -> pd.DataFrame:
    "Usual rows with one odd cell each, every odd cell once; then n rows of nothing but odd cells."
    cells = {f["name"]: odd_cells(f, card) for f in card["fields"] if f["used"]}
    draw, usual = np.random.default_rng(1), raw[[*cells]].astype({c: object for c in cells})
    rows = [{**usual.iloc[i % len(usual)].to_dict(), name: cell} for name, odd in cells.items() for i, cell in enumerate(odd)]
    rows += [{name: odd[draw.integers(len(odd))] for name, odd in cells.items()} for _ in range(n)]
    return typed(pd.DataFrame(rows), card)


def typed(frame: pd.DataFrame, card: dict) -> pd.DataFrame:
    "Numbers as a database would hold them, categories as text."
    fields = {f["name"]: f for f in card["fields"]}
    text = {c for c in frame if fields[c]["type"] == "category" or fields[c]["levels"]}
    return pd.DataFrame({c: frame[c].map(lambda v: None if v is None or v != v else str(v)).astype(object) if c in text else frame[c].astype("float64") for c in frame})


# --- the ways to run a model --------------------------------------------------------------------------------------------------------


def in_sqlite(frame: pd.DataFrame, card: dict, value: str) -> np.ndarray:
    database = sqlite3.connect(":memory:")
    frame.to_sql("t", database, index=False)
    return np.array([v for (v,) in database.execute(f"SELECT {to_sql(card, 'sqlite', value)} FROM t ORDER BY rowid")], dtype="float64")


def in_duckdb(frame: pd.DataFrame, card: dict, value: str) -> np.ndarray:
    duckdb = pytest.importorskip("duckdb")
    database = duckdb.connect()
    database.register("t", frame.assign(**{"#": range(len(frame))}))  # a table has no order of its own
    return np.array([v for (v,) in database.execute(f"SELECT {to_sql(card, 'duckdb', value)} FROM t ORDER BY \"#\"").fetchall()], dtype="float64")


def in_polars(frame: pd.DataFrame, card: dict, value: str) -> np.ndarray:
    pl = pytest.importorskip("polars")
    return pl.from_pandas(frame).select(to_polars(card, value))[value].to_numpy()


def in_scorer(frame: pd.DataFrame, card: dict, value: str) -> np.ndarray:
    served, rows = Scorer(card), frame.to_dict("records")
    log_odds = served.log_odds(served.cells({c: [row[c] for row in rows] for c in frame}, len(rows)), len(rows))
    return np.array({"log_odds": log_odds, "pd": served.pds(rows), "points": [served.points.of(z) for z in log_odds]}[value])


WAYS = {"sqlite": in_sqlite, "duckdb": in_duckdb, "polars": in_polars, "scorer": in_scorer}


def assert_same(found: np.ndarray, expected: np.ndarray, frame: pd.DataFrame, most: float = MOST) -> None:
    "Nowhere apart, and the row said where they are."
    apart = ~(np.abs(found - expected) <= most * np.maximum(1, np.abs(expected)))
    assert len(found) == len(expected) and not apart.any(), f"{apart.sum()} rows apart:\n{frame[apart].head(3).T}\n{found[apart][:3]} for {expected[apart][:3]}"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("name", "model"), CASES)
def test_every_way_gives_the_pipelines_pd(name, model, way):
    portfolio, raw, pipeline, card = fitted(name, model)
    for frame in (typed(raw[pipeline[0]._inputs()].head(600), card), odd_rows(raw, card, n=600)):
        assert_same(WAYS[way](frame, card, "pd"), pipeline.predict_proba(frame)[:, 1], frame)


@pytest.mark.parametrize(("name", "model"), CASES)
def test_a_postgresql_server_gives_the_pipelines_pd(name, model, postgres_url):
    "But for numbers so small that its arithmetic stops at them."
    portfolio, raw, pipeline, card = fitted(name, model)
    frame = odd_rows(raw, card, n=300)
    numbers = frame.select_dtypes("float")
    frame = frame[~((numbers.abs() < 1e-100) & (numbers != 0)).any(axis=1)]
    with create_engine(postgres_url.replace("postgresql:", "postgresql+psycopg:")).begin() as database:
        frame.assign(**{"#": range(len(frame))}).to_sql("t", database, index=False)
        query = f"SELECT {to_sql(card, 'postgres', 'pd')} FROM t ORDER BY \"#\""
        found = np.array([v for (v,) in database.exec_driver_sql(query.replace("%", "%%"))], dtype="float64")
    assert_same(found, pipeline.predict_proba(frame)[:, 1], frame)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("name", "model"), CASES)
def test_log_odds_and_points_agree_too(name, model, way):
    portfolio, raw, pipeline, card = fitted(name, model)
    frame = odd_rows(raw, card)
    expected = pipeline.decision_function(frame)
    assert_same(WAYS[way](frame, card, "log_odds"), expected, frame)
    assert_same(WAYS[way](frame, card, "points"), points(np.clip(expected, -700, 700), portfolio.scorecard), frame)


@pytest.mark.parametrize(("name", "model"), CASES)
def test_alone_or_in_company(name, model):
    _, raw, pipeline, card = fitted(name, model)
    frame = odd_rows(raw, card, n=20)
    frame = frame.iloc[np.random.default_rng(2).choice(len(frame), 60, replace=False)]
    alone = np.array([pipeline.predict_proba(frame.iloc[[i]])[0, 1] for i in range(len(frame))])
    assert_same(alone, pipeline.predict_proba(frame)[:, 1], frame, most=1e-13)
    served = Scorer(card)
    assert [served.pds([row])[0] for row in frame.to_dict("records")] == served.pds(frame.to_dict("records"))
    assert_same(served.score(frame)["pd"].to_numpy(), alone, frame)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", RAWS)
def test_raw_columns_as_they_come(name, way):
    "Levels as whole numbers, or as floating-point numbers because some are missing."
    _, raw, pipeline, card = fitted(name, "scorecard")
    frame = raw[pipeline[0]._inputs()].head(500)
    assert_same(WAYS[way](frame, card, "pd"), pipeline.predict_proba(frame)[:, 1], frame)
    holes = frame.mask(np.random.default_rng(3).random(frame.shape) < 0.2)
    assert_same(WAYS[way](holes, card, "pd"), pipeline.predict_proba(holes)[:, 1], holes)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("name", "model"), CASES)
def test_a_table_of_nothing_but_text(name, model, way):
    "As a CSV file comes into a database that was told no types."
    _, raw, pipeline, card = fitted(name, model)
    frame = raw[pipeline[0]._inputs()].head(500)
    text = frame.map(lambda v: None if v is None or v != v else str(v)).astype(object)
    words = pd.DataFrame([dict.fromkeys(frame, w) for w in ("", "n/a", "NULL", "-", " ")], dtype=object)
    text = pd.concat([text, words], ignore_index=True)
    assert_same(WAYS[way](text, card, "pd"), pipeline.predict_proba(text)[:, 1], text)


def test_derived_numbers_on_their_edges():
    "A quotient by one is its numerator, so each edge of the ratio can be met exactly, and its neighbours."
    _, raw, pipeline, card = fitted("quirks", "scorecard")
    edges = next(t["edges"] for t in card["terms"] if t["column"] == "ratio")
    marks = [x for edge in edges for x in around(edge)]
    assert len(edges) > 1
    frame = typed(pd.DataFrame([raw.iloc[0].to_dict() | {"due": x, "pay": 1.0} for x in marks])[pipeline[0]._inputs()], card)
    assert len(np.unique(pipeline[-1].parts(pipeline[0].transform(frame))["ratio"])) == len(edges) + 1
    for way in WAYS.values():
        assert_same(way(frame, card, "pd"), pipeline.predict_proba(frame)[:, 1], frame)


@pytest.mark.parametrize("model", MODELS)
def test_any_numbers_and_texts(model):
    "Property: whatever stands in the cells, every way says the same."
    _, _, pipeline, card = fitted("quirks", model)
    numbers = st.none() | st.floats(-1e9, 1e9) | st.integers(-10, 10).map(float)
    words = st.none() | st.text(st.characters(exclude_categories=["Cs", "Cc", "Zs", "Zl", "Zp"]), max_size=4) | st.sampled_from(["4", "4.0", "TRUE", "none", "na", "d'Or"])
    fields = {f["name"]: f for f in card["fields"] if f["used"]}
    row = st.fixed_dictionaries({c: words if f["type"] == "category" else numbers for c, f in fields.items()})

    @settings(max_examples=15, deadline=None)
    @given(st.lists(row, min_size=1, max_size=20))
    def check(rows):
        frame = typed(pd.DataFrame(rows, columns=[*fields]), card)
        for way in WAYS.values():
            assert_same(way(frame, card, "pd"), pipeline.predict_proba(frame)[:, 1], frame)

    check()


# --- SQL --------------------------------------------------------------------------------------------------------------------------------


def test_a_query_scores_a_table():
    _, raw, pipeline, card = fitted("quirks", "scorecard")
    database = sqlite3.connect(":memory:")
    raw.head(50).to_sql('t"`', database, index=False)
    scored = pd.read_sql(to_query(card, 't"`'), database)
    assert [*scored] == [*raw, *VALUES] and np.abs(scored["pd"] - pipeline.predict_proba(raw.head(50))[:, 1]).max() < MOST


def test_a_missing_column_is_an_error_in_sql():
    _, raw, _, card = fitted("quirks", "scorecard")
    database = sqlite3.connect(":memory:")
    raw.drop(columns="stars").to_sql("t", database, index=False)
    with pytest.raises(sqlite3.OperationalError, match="stars"):
        database.execute(to_query(card, "t"))


def test_what_cannot_be_written_is_refused_in_words():
    _, _, _, card = fitted("quirks", "scorecard")
    trees = {k: v for k, v in card.items() if k != "terms"} | {"trees": {}, "model": "xgboost"}
    for write in (to_sql, to_polars, best_score):
        with pytest.raises(DataError, match="xgboost"):
            write(trees)
    for given_, words in (({"dialect": "oracle"}, "sqlite, duckdb, postgres"), ({"value": "odds"}, "log_odds, pd, points")):
        with pytest.raises(DataError, match=words):
            to_sql(card, **given_)
    with pytest.raises(DataError, match="sqlite, duckdb, postgres"):
        to_query(card, "t", "oracle")
    assert "double precision" in to_sql(card, "postgres") and set(DIALECTS) == {"sqlite", "duckdb", "postgres"}


def test_polars_is_imported_only_when_asked_for():
    code = "import sys, creditrisk.points; sys.exit('polars' in sys.modules or 'duckdb' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=HERE.parent).returncode == 0


# --- points and reasons -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RAWS)
def test_totals_by_the_table_stay_within_their_bounds(name):
    portfolio, raw, pipeline, card = fitted(name, "scorecard")
    table, cleaned = points_table(pipeline, portfolio), pipeline[0].transform(odd_rows(raw, card, n=500))
    error = total_points(pipeline, table, cleaned) - points(pipeline[-1].decision_function(cleaned), portfolio.scorecard)
    below, above = rounding_error(table)
    assert below - 1e-9 <= error.min() and error.max() <= above + 1e-9 and max(-below, above) <= 0.5 * table["column"].nunique()
    for column, bins in table[table["column"] != ""].groupby("column"):
        assert bins.sort_values("value")["points"].is_monotonic_decreasing and bins["points"].min() == 0, column
    assert points_table(pipeline[-1], portfolio).equals(table)


def test_a_table_is_for_a_scorecard():
    portfolio, _, pipeline, _ = fitted("quirks", "logistic")
    with pytest.raises(DataError, match="LogisticRegression"):
        points_table(pipeline, portfolio)


@pytest.mark.parametrize(("name", "model"), CASES)
def test_reasons_add_up_and_are_the_servers(name, model):
    portfolio, raw, pipeline, card = fitted(name, model)
    served, frame = Scorer(card), raw[pipeline[0]._inputs()].head(300)
    log_odds, parts = served.model.weigh(served.cells({c: frame[c].tolist() for c in frame}, len(frame)), len(frame))
    why = reason_codes(card, pd.DataFrame(parts))
    score = points(np.array(log_odds), portfolio.scorecard)
    assert abs(best_score(card) - scorers_best(served)) < 1e-9
    by_applicant = why.groupby("applicant")
    assert np.abs(best_score(card) + by_applicant["points"].sum() - score).max() < 1e-9
    assert (round(best_score(card)) + by_applicant["whole"].sum() == np.round(score)).all()
    assert (by_applicant["points"].diff().dropna() >= 0).all() and (by_applicant["rank"].max() == len(parts)).all()
    lost = points_lost(served, parts)
    assert np.abs(why.pivot(index="applicant", columns="column", values="points")[[*lost]].to_numpy() - np.column_stack([*lost.values()])).max() < 1e-9
    for lang in ("es", "en"):
        mine = [[(r["column"], r[lang], round(r["points"], 2)) for r in rows.head(4).to_dict("records") if r["points"] <= -0.005] for _, rows in by_applicant]
        assert mine == [[(r["field"], r["label"], r["points"]) for r in row] for row in reasons_of(served, parts, len(frame), lang=lang)]


@given(st.lists(st.floats(-500, 500), min_size=1, max_size=9), st.integers(-3, 3))
def test_whole_points_add_up(parts, off):
    total = round(sum(parts)) + off
    assert whole_points(np.array([parts]), np.array([total])).sum() == total


@pytest.mark.parametrize("dialect", ["sqlite", "duckdb"])
def test_a_literal_is_the_number_to_its_last_bit(dialect):
    "SQLite misreads about one decimal in some thousands by a bit, enough to fall on an edge's other side."
    draw = np.random.default_rng(0)
    numbers = [float(f"{x:.{digits}g}") for digits in (6, 9, 15, 17) for x in draw.random(3000) * 10.0 ** draw.integers(-8, 9, 3000) * draw.choice([-1, 1], 3000)]
    connect = {"sqlite": lambda: sqlite3.connect(":memory:"), "duckdb": lambda: pytest.importorskip("duckdb").connect()}[dialect]
    read = [connect().execute(f"SELECT {', '.join(_literal(x, DIALECTS[dialect]) for x in part)}").fetchone() for part in np.split(np.array(numbers), 24)]
    assert [x for row in read for x in row] == numbers
