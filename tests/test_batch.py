"Scoring files, queries and tables: as the API scores, in order, whole or not at all, in bounded memory."

import csv
import json
import math
import random
import sqlite3
import subprocess
import sys
from decimal import Decimal

import pytest

pa = pytest.importorskip("pyarrow")
from pyarrow import parquet  # noqa: E402

from creditrisk.batch import BatchError, Scored, read_column, score_file  # noqa: E402
from creditrisk.deploy import create_app  # noqa: E402
from creditrisk.load import DataError  # noqa: E402
from creditrisk.scorer import Scorer  # noqa: E402
from creditrisk.terms import Field, ScorerError  # noqa: E402

CARD = {
    "schema": 1, "model": "scorecard", "portfolio": "toy", "target": {"column": "pagado", "good": "1"}, "intercept": -3.1,
    "fields": [
        {"name": "edad", "type": "count", "unit": "years", "min": 18, "max": 100, "codes": {"121": "unknown"}}, {"name": "salario", "type": "money", "unit": "COP", "min": 0, "outside": "missing"},
        {"name": "tipo", "type": "category", "levels": ["4", "9", "-"]}, {"name": "fecha", "type": "date", "min": "2020-01-01"}, {"name": "ocupación, hoy", "type": "category", "outside": "warn", "levels": ["A", "B"]},
    ],
    "derived": [{"name": "por_edad", "expression": "salario / edad"}],
    "terms": [
        {"column": "edad", "kind": "bins", "edges": [30.0, 50.0], "values": [0.41, 0.03, -0.37], "missing": 0.1, "special": 0.2}, {"column": "por_edad", "kind": "linear", "slope": -1.3e-6, "center": 7e4, "missing": 0.07},
        {"column": "tipo", "kind": "levels", "values": {"4": -0.1, "9": 0.53, "-": 0.9}, "unseen": 0.2, "missing": 0.3}, {"column": "ocupación, hoy", "kind": "levels", "values": {"A": 0.1, "B": 0.2}, "unseen": 0.4, "missing": 0.3},
    ],
    "points": {"base_score": 600, "base_odds": 20, "pdo": 40}, "cutoffs": {"approve": 0.05, "refuse": 0.08}, "golden": [{"row": {}, "pd": 1 / (1 + math.exp(3.1 - 0.1 - 0.07 - 0.3 - 0.3))}],
}  # fmt: skip
SCORER = Scorer(CARD)
NAMES = [f["name"] for f in CARD["fields"]]


def some_rows(n: int, seed: int = 1) -> list[dict]:
    "Rows of all kinds: usual, missing, codes, strange levels, wrong."
    choose = random.Random(seed)

    def row() -> dict:
        return dict(zip(NAMES, (
            choose.choice([18.0, 34.0, 49.999999999999, 50.0, 100.0, 121.0, None, 17.0, 101.0, choose.uniform(18, 100)]), choose.choice([0.0, -1.0, 1e6 / 3, 2.5e7, None, choose.lognormvariate(15, 1)]),
            choose.choice(["4", "9", "-", None, "7"]), choose.choice(["2025-01-31", None, "2019-12-31", "31/01/2025", "2025-03-01 10:20:30"]), choose.choice(["A", "B", "C, \"D\"", "línea\nnueva", None]),
        ), strict=True))  # fmt: skip

    return [row() for _ in range(n)]


def api_says(rows: list[dict]) -> dict[int, tuple[float, int, str]]:
    "What POST /predict answers for each row alone; refused ones are not there."
    from starlette.testclient import TestClient

    with TestClient(create_app(SCORER, rate_limit="0")) as client:
        answers = {i: client.post("/predict", json={"data": [row]}) for i, row in enumerate(rows)}
    assert {a.status_code for a in answers.values()} <= {200, 422}
    return {i: (a.json()["pd"][0], a.json()["score"][0], a.json()["band"][0]) for i, a in answers.items() if a.status_code == 200}


def write_source(kind: str, rows: list[dict], folder) -> tuple[str, dict]:
    "A source of a kind, with a column that is no field."
    table = pa.table({"nota, de paso": [f"n{i}" for i in range(len(rows))]} | {n: [r[n] for r in rows] for n in NAMES})
    if kind == "parquet":
        parquet.write_table(table, folder / "in.parquet", row_group_size=50)
        return str(folder / "in.parquet"), {}
    if kind == "csv":
        with (folder / "in.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([table.column_names, *zip(*table.to_pydict().values(), strict=True)])
        return str(folder / "in.csv"), {}
    with sqlite3.connect(folder / "in.db") as book:
        book.execute(f"create table t ({', '.join(json.dumps(n, ensure_ascii=False) for n in table.column_names)})")
        book.executemany(f"insert into t values ({', '.join('?' * table.num_columns)})", zip(*table.to_pydict().values(), strict=True))
    return f"sqlite:///{folder / 'in.db'}", {"query": "select * from t order by rowid"}


def read_target(target: str, table: str | None) -> list[dict]:
    "What was written, as texts and numbers."
    if target.endswith(".parquet"):
        return parquet.read_table(target).to_pylist()
    if target.endswith(".csv"):
        with open(target, newline="", encoding="utf-8") as file:
            return [r | {"pd": float(r["pd"]), "score": int(r["score"])} for r in csv.DictReader(file)]
    from sqlalchemy import create_engine, text

    from creditrisk.ledger import engine_of

    engine = create_engine(engine_of(target).url)
    with engine.connect() as connection:
        found = [dict(r) for r in connection.execute(text(f"select * from {table}")).mappings()]
    engine.dispose()
    return found


@pytest.mark.parametrize(("kind", "to"), [("csv", "csv"), ("csv", "parquet"), ("parquet", "csv"), ("parquet", "parquet"), ("sql", "parquet"), ("csv", "sqlite"), ("parquet", "postgresql"), ("sql", "sqlite")])
def test_every_way_scores_and_refuses_as_the_api_does(kind, to, tmp_path, request):
    rows = some_rows(150)
    said = api_says(rows)
    assert 20 < len(said) < 130
    source, options = write_source(kind, rows, tmp_path)
    urls = {"sqlite": f"sqlite:///{tmp_path / 'out.db'}", "postgresql": request.getfixturevalue("postgres_url") if to == "postgresql" else ""}
    target, table = (urls[to], "scored") if to in urls else (str(tmp_path / f"out.{to}"), None)
    aside = tmp_path / "aside.csv"
    done = score_file(source, target, SCORER, table=table, chunk=40, refused=aside, **options)
    assert done == Scored(len(said), 150 - len(said), aside, ["nota, de paso"])
    written = read_target(target, table)
    assert [(r["pd"], r["score"], r["band"]) for r in written] == list(said.values())
    assert [r["nota, de paso"] for r in written] == [f"n{i}" for i in said]
    with aside.open(newline="", encoding="utf-8") as file:
        refused = list(csv.DictReader(file))
    assert [int(r["refused_row"]) for r in refused] == [i for i in range(150) if i not in said] == [int(r["nota, de paso"][1:]) for r in refused]
    assert all(any(n in r["refused_because"] for n in NAMES) and r[NAMES[4]] == (rows[int(r["refused_row"])][NAMES[4]] or "") for r in refused)


def test_a_real_model_scores_a_file_as_it_scores_a_frame(small_run, tmp_path):
    from creditrisk.load import sample_loans

    raw = sample_loans(700)
    raw.to_csv(tmp_path / "in.csv", index=False)
    raw.to_parquet(tmp_path / "in.parquet")
    expected = Scorer.load(small_run).score(raw, reasons=3, lang="en")
    for name in ("in.csv", "in.parquet"):
        done = score_file(tmp_path / name, tmp_path / "out.parquet", small_run, chunk=100, reasons=3, lang="en")
        table = parquet.read_table(tmp_path / "out.parquet").to_pandas()
        kept = [i for i in range(700) if i not in ({int(r["refused_row"]) for r in csv.DictReader(done.refused_file.open())} if done.refused else set())]
        assert done.rows == len(kept) > 600
        assert all(table[c].tolist() == expected[c].iloc[kept].tolist() for c in ("pd", "score", "band", "reasons"))


def test_values_that_a_file_may_hold_are_read_as_a_request_would_hold_them():
    age, day, level = (Field.of(CARD["fields"][i]) for i in (0, 3, 2))
    assert read_column(pa.array([" 34 ", "+5", "1e1", ".5", "0x10", "1,5", "inf", "NaN"]), age)[:6] == [34.0, 5.0, 10.0, 0.5, "0x10", "1,5"]
    assert read_column(pa.array([1, 2**60, None]), age) == [1.0, 2.0**60, None] and read_column(pa.array([1.5, None], pa.float32()), age) == [1.5, None]
    assert read_column(pa.array([True, False]), age) == [True, False] and read_column(pa.array([None, None]), age) == [None, None]
    assert read_column(pa.array([0, None], pa.timestamp("s")), day) == ["1970-01-01T00:00:00", None] and read_column(pa.array([0], pa.date32()), day) == ["1970-01-01"]
    assert read_column(pa.array([Decimal("4.00"), None]), level) == read_column(pa.array([Decimal("4.00"), None]), age) == [4.0, None]
    assert read_column(pa.array([4.0, float("nan")]), level) == [4.0, None] and read_column(pa.array(["-", "NA", ""]), level) == ["-", None, None]
    with pytest.raises(BatchError, match="edad holds lists"):
        read_column(pa.array([[1]]), age)


def test_what_cannot_be_scored_is_refused_in_words_and_the_target_is_left_alone(tmp_path):
    header = ",".join(f'"{n}"' for n in NAMES)
    (tmp_path / "out.csv").write_text("before")

    def refuse(content: str, words: str, target="out.csv", error=BatchError, **options):
        (tmp_path / "in.csv").write_text(content, encoding="utf-8")
        with pytest.raises(error, match=words):
            score_file(tmp_path / "in.csv", tmp_path / target if "://" not in target else target, SCORER, **options)

    refuse(header.replace("salario", "salarios") + "\n34,1,4,,A", r"- salario   \(named 'salarios' there")
    refuse(header + ",pd\n34,1,4,,A,0.5", "named pd already")
    refuse(header + ",edad\n34,1,4,,A,35", "more than once: edad")
    refuse(header + "\n", "no rows")
    refuse(header.replace(",", ";") + "\n34;1,5;4;;A", "decimal commas", error=DataError)
    refuse(header + "\n34,1,4,,A\n" + "34,1\n" * 3, "line 3, Expected 5 columns, got 2. Check")
    refuse(header + '\n34,1,4,,A\n34,1,4,,"A\n' + "34,1,4,,A\n" * 5, "quotation mark that is never closed")
    refuse(header + "\n34,1,4,,A", "expected .csv, .parquet", target="out.txt")
    refuse(header + "\n34,1,4,,A", "give --table", target=f"sqlite:///{tmp_path / 'o.db'}")
    assert (tmp_path / "out.csv").read_text() == "before" and {p.name for p in tmp_path.iterdir()} == {"in.csv", "out.csv"}
    with pytest.raises(BatchError, match="give --query"):
        score_file(f"sqlite:///{tmp_path / 'none.db'}", tmp_path / "x.csv", SCORER)
    with pytest.raises(BatchError, match="there is no SQLite file"):
        score_file(f"sqlite:///{tmp_path / 'none.db'}", tmp_path / "x.csv", SCORER, query="select 1")
    with pytest.raises(BatchError, match="URL can't be used"):
        score_file("postgresql://u:hush@host:port/d", tmp_path / "x.csv", SCORER, query="select 1")
    with pytest.raises(BatchError) as said:
        score_file("postgresql://u:hush@127.0.0.1:1/d", tmp_path / "x.csv", SCORER, query="select 1")
    assert "hush" not in str(said.value)
    with pytest.raises(ScorerError):
        score_file(tmp_path / "in.csv", tmp_path / "x.csv", tmp_path / "norun")
    with pytest.raises(DataError, match="no file"):
        score_file(tmp_path / "none.csv", tmp_path / "x.csv", SCORER)


def test_a_batch_that_fails_half_way_leaves_nothing(tmp_path):
    source, _ = write_source("csv", some_rows(100), tmp_path)
    with open(source, "a", encoding="utf-8") as file:
        file.write("\n".join(["a,b"] * 3))
    url = f"sqlite:///{tmp_path / 'out.db'}"
    for target, table in ((tmp_path / "out.parquet", None), (url, "scored")):
        with pytest.raises(BatchError):
            score_file(source, target, SCORER, table=table, chunk=10)
    with sqlite3.connect(tmp_path / "out.db") as book:
        assert book.execute("select name from sqlite_master").fetchall() == []
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.csv", "out.db"]
    (tmp_path / "good.csv").write_text(",".join(f'"{n}"' for n in NAMES) + "\n34,1,4,,A\n")
    assert score_file(tmp_path / "good.csv", url, SCORER, table="scored").rows == 1
    with pytest.raises(BatchError, match="a table scored already"):
        score_file(tmp_path / "good.csv", url, SCORER, table="scored")


def test_a_side_file_of_an_earlier_batch_does_not_stay(tmp_path):
    heard = []
    (tmp_path / "in.csv").write_text(",".join(f'"{n}"' for n in NAMES) + "\n17,1,4,,A\n34,1,4,,A\n")
    first = score_file(tmp_path / "in.csv", tmp_path / "out.csv", SCORER, progress=lambda *said: heard.append(said))
    assert first == Scored(1, 1, tmp_path / "out_refused.csv", []) and heard == [(2, 1.0)]
    (tmp_path / "in.csv").write_text(",".join(f'"{n}"' for n in NAMES) + "\n34,1,4,,A\n")
    assert score_file(tmp_path / "in.csv", tmp_path / "out.csv", SCORER) == Scored(1, 0, None, []) and not (tmp_path / "out_refused.csv").exists()


def test_mended_rows_can_be_scored_and_nothing_is_written_over_its_source(tmp_path):
    header = ",".join(f'"{n}"' for n in NAMES)
    mended = tmp_path / "out_refused.csv"
    mended.write_text(f"refused_row,refused_because,{header}\n0,was wrong,34,1,4,,A\n1,still wrong,17,1,4,,A\n")
    done = score_file(mended, tmp_path / "out.csv", SCORER)
    assert done == Scored(1, 1, tmp_path / "out_refused_again.csv", [])
    assert mended.read_text().count("wrong") == 2 and done.refused_file.read_text().splitlines()[0].startswith("refused_row,refused_because,edad,")
    own = tmp_path / "mine_refused.csv"
    own.write_text("not of a batch\n")
    (tmp_path / "in.csv").write_text(header + "\n34,1,4,,A\n")
    assert score_file(tmp_path / "in.csv", tmp_path / "mine.csv", SCORER).rows == 1 and own.read_text() == "not of a batch\n"
    for target, aside in ((tmp_path / "in.csv", None), (tmp_path / "x.csv", tmp_path / "in.csv"), (tmp_path / "x.csv", tmp_path / "x.csv")):
        with pytest.raises(BatchError, match="written over"):
            score_file(tmp_path / "in.csv", target, SCORER, refused=aside)
    assert (tmp_path / "in.csv").read_text() == header + "\n34,1,4,,A\n"


def test_a_query_is_read_in_parts_of_the_size_that_was_asked_for(tmp_path):
    source, options = write_source("sql", [{n: 34.0 if n == "edad" else None for n in NAMES}] * 100, tmp_path)
    heard = []
    score_file(source, tmp_path / "out.csv", SCORER, chunk=40, progress=lambda rows, share: heard.append(rows), **options)
    assert heard == [40, 80, 100]


def test_memory_does_not_grow_with_the_length_of_a_file(tmp_path):
    table = pa.table({n: [r[n] for r in some_rows(10_000)] for n in NAMES})
    for name, times in (("short", 1), ("long", 8)):
        with parquet.ParquetWriter(tmp_path / f"{name}.parquet", table.schema) as writer:
            for _ in range(times):
                writer.write_table(table)
    (tmp_path / "card.json").write_text(json.dumps(CARD))
    script = (
        "import json, resource, sys; from creditrisk.batch import score_file; from creditrisk.scorer import Scorer\n"
        "score_file(sys.argv[1], sys.argv[1] + '.out.parquet', Scorer(json.load(open(sys.argv[2]))), chunk=2000); print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)"
    )
    used = [int(subprocess.run([sys.executable, "-c", script, tmp_path / f"{n}.parquet", tmp_path / "card.json"], capture_output=True, text=True, check=True).stdout) for n in ("short", "long")]
    assert used[1] < used[0] + 40, used  # MiB
