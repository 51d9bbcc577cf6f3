"""Contracts of reading and cleaning: every kind of trouble is either mended, set aside or refused in words that say how to mend it."""

import os
import shlex
import tomllib
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sqlalchemy
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal, assert_series_equal

from creditrisk import load
from creditrisk.load import (
    DataError, Portfolio, as_reported, clean, evaluate, find_breaks, names_in, read_artifact, read_loans, rule_report, sample_loans, set_missing,
    typed, with_derived, write_artifact, written,
)  # fmt: skip

ROOT = Path(__file__).parents[1]
SEED = Path(os.environ.get("CREDITRISK_SEED", ROOT.parent / "shared" / "data" / "seed"))
UCI = ROOT / "tests" / "portfolios" / "uci_credit_card.toml"
TODAY = pd.Timestamp("2026-12-31")  # no test depends on the day that it runs

TOY = """
schema = 1
name = "toy"
target = "pagó"
good = "sí"
date = "fecha"
amount = "salario"
[columns.fecha]
type = "date"
min = 2000-01-01
required = true
[columns.edad]
type = "count"
min = 18
max = 100
codes = {999 = "birth date unknown"}
required = true
[columns.salario]
type = "money"
min = 300
max = 9000
outside = "missing"
codes = {0 = "not declared"}
[columns.consultas]
type = "count"
min = 0
max = 50
outside = "warn"
[columns.tendencia]
type = "category"
levels = ["creciente", "estable", "decreciente"]
outside = "missing"
[columns.producto]
type = "category"
[columns.atraso]
type = "score"
known = "outcome"
[columns."pagó"]
type = "category"
levels = ["sí", "no"]
known = "outcome"
[derived.salario_por_edad]
expression = "salario / edad"
type = "ratio"
[[rules]]
name = "no more enquiries than years"
check = "consultas <= edad"
action = "reject"
"""


def dictionary(*changes: tuple[str, str]) -> Portfolio:
    "The toy dictionary with pieces of its text replaced; each piece must be there."
    text = TOY
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new, 1)
    return Portfolio.from_dict(tomllib.loads(text))


def table(n: int = 40, **columns) -> pd.DataFrame:
    "A toy portfolio without a fault, some columns replaced."
    i = np.arange(n)
    frame = {
        "fecha": pd.Timestamp("2025-01-01") + pd.to_timedelta(i, unit="D"), "edad": 20 + i % 60, "salario": 1000.5 + i, "consultas": i % 7,
        "tendencia": np.array(["creciente", "estable", "decreciente"])[i % 3], "producto": np.array(["04", "9"])[i % 2],
        "atraso": 95.25 - i, "pagó": np.array(["sí", "no"])[i % 2],
    }  # fmt: skip
    frame["fecha"] = frame["fecha"].strftime("%Y-%m-%d %H:%M:%S")
    return pd.DataFrame(frame | columns)


def one(**cells) -> pd.DataFrame:
    "The toy portfolio with other cells in its first row; `bad` and good loans follow."
    frame = table().astype(object)
    frame.loc[0, list(cells)] = pd.Series(cells, dtype=object)
    return frame


def told(action) -> str:
    "What an action is refused with."
    with pytest.raises(DataError) as caught:
        action()
    return str(caught.value)


def mend(message: str) -> None:
    "Run the command that a message gives, quoted as a shell would understand it."
    *_, code = shlex.split(message[message.index("python -c") :])
    exec(code, {})


@pytest.fixture(scope="module")
def toy() -> Portfolio:
    return dictionary()


@pytest.fixture(scope="module")
def pago() -> Portfolio:
    return Portfolio.load("pago_atiempo")


# --- the same loans, whatever they come in ---


def stored(frame: pd.DataFrame, form: str, folder: Path) -> dict:
    "A frame written in a form, and the arguments that read it."
    path = folder / f"loans.{form}"
    match form:
        case "csv":
            frame.to_csv(path, index=False)
        case "xlsx":
            frame.to_excel(path, index=False)
        case "parquet":
            frame.to_parquet(path, index=False)
        case "db":
            engine = sqlalchemy.create_engine(f"sqlite:///{path}", poolclass=sqlalchemy.pool.NullPool)
            with engine.begin() as connection:
                frame.to_sql("loans", connection, index=False)
            return {"source": f"sqlite:///{path}", "query": "select * from loans"}
    return {"source": path}


@pytest.mark.parametrize("form", ["csv", "xlsx", "parquet", "db"])
def test_every_form_gives_the_same_loans(form, pago, tmp_path):
    expected, refused = clean(read_loans("sample", pago, rows=400), pago, as_of=TODAY)
    loans, rejects = clean(read_loans(**stored(sample_loans(400), form, tmp_path), portfolio=pago), pago, as_of=TODAY)
    assert_frame_equal(loans, expected)
    assert rejects["row"].tolist() == refused["row"].tolist()


def test_columns_come_in_the_order_of_the_dictionary(toy, tmp_path):
    raw = read_loans(**stored(table()[sorted(table())], "csv", tmp_path), portfolio=toy)
    assert list(raw) == list(toy.columns)


@pytest.mark.parametrize("form", ["csv", "xlsx", "parquet", "db", "sample"])
def test_as_many_rows_as_asked_for(form, toy, pago, tmp_path):
    if form == "sample":
        assert len(read_loans("sample", pago, rows=7)) == 7
    else:
        assert len(read_loans(**stored(table(), form, tmp_path), portfolio=toy, rows=7)) == 7


def test_codes_with_leading_zeros_stay(toy, tmp_path):
    assert read_loans(**stored(table(), "csv", tmp_path), portfolio=toy)["producto"].tolist()[:2] == ["04", "9"]


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (table()["tendencia"].astype("category"), "creciente"),  # a dictionary-encoded Parquet column
        (pd.Series([4, None] * 20, dtype="Int64"), "4"),
        (pd.Series([True, False] * 20), "True"),
    ],
)
def test_parquet_types_become_text(cells, expected, toy, tmp_path):
    raw = read_loans(**stored(table(producto=cells), "parquet", tmp_path), portfolio=toy)
    assert clean(raw, toy)[0].loc[0, "producto"] == expected


def test_a_named_index_is_a_column(toy, tmp_path):
    table().set_index("edad").to_parquet(tmp_path / "loans.parquet")
    assert len(read_loans(tmp_path / "loans.parquet", toy)) == 40


# --- columns: the difference is shown ---


def test_missing_extra_and_renamed_columns(toy):
    raw = table().rename(columns={"edad": "EDAD ", "salario": "sueldo", "tendencia": "tendencias"}).assign(nueva=1)
    lines = told(lambda: clean(raw, toy)).splitlines()
    assert lines[1:-1] == [
        "  - edad   (renamed to 'EDAD '?)", "  - salario", "  - tendencia   (renamed to 'tendencias'?)",
        "  + EDAD ", "  + sueldo", "  + tendencias", "  + nueva",
    ]  # fmt: skip
    assert "Rename, add or drop" in lines[-1]


def test_one_new_name_is_guessed_once(toy):
    message = told(lambda: clean(table().drop(columns=["consultas", "edad"]).assign(consulta=1), toy))
    assert message.count("renamed to") == 1


def test_a_column_twice(toy, tmp_path):
    source = stored(table(), "db", tmp_path) | {"query": "select *, edad from loans"}
    assert "+ edad   (a second time)" in told(lambda: read_loans(**source, portfolio=toy))


def test_an_index_written_along(toy, tmp_path):
    table().to_csv(tmp_path / "loans.csv")
    assert "+ Unnamed: 0   (a column without a name" in told(lambda: read_loans(tmp_path / "loans.csv", toy))


def test_applications_need_no_outcome(toy):
    loans, _ = clean(table().drop(columns=["pagó", "atraso"]), toy, labelled=False)
    assert len(loans) == 40 and "bad" not in loans
    assert "- pagó" in told(lambda: clean(table().drop(columns="pagó"), toy))


def test_rules_and_derived_columns_about_the_outcome_wait_for_it():
    late = dictionary(("consultas <= edad", "atraso <= edad + 1000"), ('"salario / edad"', '"atraso / edad"\nknown = "outcome"'))
    loans, _ = clean(table().drop(columns=["pagó", "atraso"]), late, labelled=False)
    assert "salario_por_edad" not in with_derived(loans, late)
    assert "salario_por_edad" in with_derived(clean(table(), late)[0], late)


# --- files that are not what they should be ---


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("nothing.csv", b"", ["empty (0 bytes)"]),
        ("lines.csv", b"\n\n", ["No columns"]),
        ("header.csv", ",".join(table()).encode(), ["column names but no rows"]),
        ("text.xlsx", b"fecha,edad\n2025-01-01,44\n", ["named .xlsx but holds text"]),
        ("page.csv", b"<!DOCTYPE html><table></table>", ["a web page"]),
        ("old.xlsx", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", ["old or password-protected"]),
        ("report.pdf", b"%PDF-1.7", ["ends in '.pdf'", "expected .csv, .xlsx, .parquet"]),
        ("more.csv", table().to_csv(index=False).replace("2025-01-03", "2025-01-03,1", 1).encode(), ["line 4, saw 9", "number of fields"]),
        ("comma.csv", table().to_csv(index=False).replace("\n", ",\n").replace(",\n", "\n", 1).encode(), ["more fields in its lines than names"]),
        ("quote.csv", table().to_csv(index=False).replace("estable", '"estable', 1).encode(), ["EOF inside string", "Check quotes"]),
    ],
)
def test_unusable_files(name, content, words, toy, tmp_path):
    (tmp_path / name).write_bytes(content)
    message = told(lambda: read_loans(tmp_path / name, toy))
    assert all(w in message for w in [name, *words]), message


HOLDS = {"csv": "text", "xlsx": "an Excel workbook", "parquet": "a Parquet file", "db": "a SQLite database", "zip": "a zip archive"}


@pytest.mark.parametrize(("form", "named"), [(form, named) for form in HOLDS for named in ("csv", "xlsx", "parquet") if form != named])
def test_a_file_that_is_not_what_its_name_says(form, named, toy, tmp_path):
    if form == "zip":
        with zipfile.ZipFile(tmp_path / "loans.zip", "w") as archive:
            archive.writestr("loans.csv", "edad")
    else:
        stored(table(), form, tmp_path)
    other = (tmp_path / f"loans.{form}").rename(tmp_path / f"other.{named}")
    assert f"named .{named} but holds {HOLDS[form]}" in told(lambda: read_loans(other, toy))


@pytest.mark.parametrize("form", ["xlsx", "parquet"])
def test_half_a_file(form, toy, tmp_path):
    path = stored(table(), form, tmp_path)["source"]
    path.write_bytes(path.read_bytes()[:-500])
    assert "may be damaged" in told(lambda: read_loans(path, toy))


def test_a_folder_and_a_missing_file(toy, tmp_path):
    assert "is a folder" in told(lambda: read_loans(tmp_path, toy))
    assert "there is no file" in told(lambda: read_loans(tmp_path / "loans.csv", toy))


def test_a_file_that_may_not_be_read(toy, tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    path = stored(table(), "csv", tmp_path)["source"]
    monkeypatch.setattr(Path, "open", refuse)
    assert "may not be read" in told(lambda: read_loans(path, toy))


@pytest.mark.parametrize(
    ("url", "query", "words"),
    [
        ("sqlite:///{}/loans.db", "", "needs a query"),
        ("sqlite:///{}/typo.db", "select * from loans", "there is no SQLite file"),
        ("sqlite:///{}/loans.db", "selec *\nfrom loans", 'near "selec": syntax error'),
        ("sqlite:///{}/loans.db", "select * from lones", "no such table: lones"),
        ("sqlite:///{}/loans.db", "delete from loans", "does not return rows"),
        ("sqlite:///{}/loans.db", "select * from loans where edad < 0", "no rows"),
        ("postgresql://ana:s3cret@host:port/db", "select 1", "URL can't be used"),
        ("nosuch://ana:s3cret@host/db", "select 1", "URL can't be used"),
        ("postgresql://ana:s3cret@127.0.0.1:1/db", "select 1", "the database says"),
        ("https://example.org/loans.csv", "", "Download a file on the web first"),
    ],
)
def test_sql_troubles(url, query, words, toy, tmp_path):
    stored(table(), "db", tmp_path)
    message = told(lambda: read_loans(url.format(tmp_path), toy, query=query))
    assert words in message and "s3cret" not in message
    assert sorted(p.name for p in tmp_path.iterdir()) == ["loans.db"], "a typing error must not make an empty database"
    assert len(read_loans(f"sqlite:///{tmp_path}/loans.db", toy, query="select * from loans")) == 40


# --- CSV as offices export it: refused with the command that mends it ---


@pytest.mark.parametrize(
    ("how", "encoding", "words"),
    [
        ({}, "latin-1", ["not UTF-8 (line 1 has the byte 0xf3", "pagó", "encoding='latin-1'"]),
        ({}, "utf-16", ["UTF-16", "encoding='utf-16'"]),
        ({"sep": ";"}, "utf-8", ["separated by ';'"]),
        ({"sep": "\t"}, "utf-8", ["separated by '\\t'"]),
        ({"sep": ";", "decimal": ","}, "utf-8", ["separated by ';'", "decimal commas", "decimal=','"]),
        ({"sep": ";", "decimal": ","}, "latin-1", ["not UTF-8", "separated by ';'", "decimal commas"]),
        ({"sep": ";", "decimal": ","}, "utf-8-sig", ["separated by ';'", "decimal commas"]),
    ],
)
def test_a_csv_in_another_dialect(how, encoding, words, toy, tmp_path):
    path = tmp_path / "my loans.csv"
    frame = table().assign(producto="a")  # the command reads as pandas does, which takes 04 for a number
    path.write_bytes(frame.to_csv(index=False, **how).encode(encoding))
    message = told(lambda: read_loans(path, toy))
    assert all(w in message for w in words), message
    mend(message)
    assert_frame_equal(read_loans(tmp_path / "my loans_mended.csv", toy), read_loans(**stored(frame, "csv", tmp_path), portfolio=toy))


def test_points_between_thousands(toy, tmp_path):
    path = tmp_path / "loans.csv"
    text = table(salario="1.234,50").to_csv(index=False, sep=";")
    path.write_text(text, encoding="utf-8")
    mend(told(lambda: read_loans(path, toy)))
    assert read_loans(tmp_path / "loans_mended.csv", toy)["salario"].eq(1234.5).all()


def test_a_byte_order_mark_is_fine(toy, tmp_path):
    (tmp_path / "loans.csv").write_bytes(table().to_csv(index=False).encode("utf-8-sig"))
    assert len(read_loans(tmp_path / "loans.csv", toy)) == 40


@pytest.mark.parametrize(
    ("column", "cell", "words"),
    [
        ("salario", "1234,5", "a comma within a number"),
        ("salario", "1,234.50", "a comma within a number"),
        ("salario", "12.5 %", "a percent sign"),
        ("salario", "$ 1200", "a sign before the number"),
        ("salario", "mucho", "such as 'mucho'"),
        ("fecha", "31/12/2024", "another order: write 2025-12-31"),
        ("fecha", "45657", "a spreadsheet's day number"),
        ("fecha", "ayer", "not a date (ISO 8601), such as 'ayer'"),
    ],
)
def test_a_column_in_another_format(column, cell, words, toy, tmp_path):
    "A whole column that can't be read is the file's fault; a cell or two are their rows'."
    assert words in told(lambda: read_loans(**stored(table(**{column: cell}), "csv", tmp_path), portfolio=toy))
    raw = read_loans(**stored(one(**{column: cell}), "parquet" if column == "fecha" else "csv", tmp_path), portfolio=toy)
    loans, rejects = clean(raw, toy, as_of=TODAY)
    assert len(loans) == 39 and rejects["value"].tolist() == [cell]


# --- cells ---


@pytest.mark.parametrize("word", ["", " ", "NA", "n/a", "NaN", "null", "NULL", "None", "<NA>", "-", None, np.nan, pd.NA, pd.NaT])
def test_words_for_nothing(word, toy):
    loans, rejects = clean(one(salario=word, tendencia=word), toy)
    assert not len(rejects) and loans.loc[0, ["salario", "tendencia", "salario__raw", "tendencia__raw"]].isna().all()


def test_words_for_nothing_in_a_csv(toy, tmp_path):
    words = ["", "NA", "n/a", "NaN", "null", "None", "-"]
    raw = read_loans(**stored(table(len(words), salario=words, tendencia=words), "csv", tmp_path), portfolio=toy)
    assert raw[["salario", "tendencia"]].isna().all().all()


def test_a_level_named_none_is_a_level(tmp_path):
    names = dictionary(('["creciente", "estable", "decreciente"]', '["creciente", "None", "NA"]'))
    raw = read_loans(**stored(table(tendencia=["creciente", "None", "NA", "null"] * 10), "csv", tmp_path), portfolio=names)
    assert clean(raw, names)[0]["tendencia"].head(4).fillna("missing").tolist() == ["creciente", "None", "NA", "missing"]


@pytest.mark.parametrize(
    ("type", "cells", "expected"),
    [
        ("count", ["4", " 4.0", 4, "4e0", None, "four", np.inf, True], [4, 4, 4, 4, None, None, None, None]),
        ("category", ["4", "4.0", 4, 4.0, "4.00", "04", " a "], ["4", "4", "4", "4", "4", "04", "a"]),
        ("category", [True, 1, 1.0, "true", "TRUE", False, 0, -0.0], ["True", "1", "1", "True", "True", "False", "0", "0"]),
        ("date", ["2025-03-01", "20250301", "2025-03-01T10:00:00-05:00", "2025-03-01 10:00Z"], ["2025-03-01", "2025-03-01", "2025-03-01 10:00", "2025-03-01 10:00"]),
        ("date", ["2025-02-30", "31/12/2024", "today", "now", "45000", ""], [None] * 6),
    ],
)
def test_one_representation(type, cells, expected):
    values = typed(pd.Series(cells, dtype=object), load.Column("c", type))
    expected = pd.Series(expected, dtype=object if type == "category" else "float64" if type == "count" else "datetime64[s]")
    assert_series_equal(values, expected)


@pytest.mark.parametrize(
    ("cells", "rule"),
    [
        ({"fecha": "ayer"}, "fecha: not a date (ISO 8601)"),
        ({"fecha": "2025-02-30"}, "fecha: not a date (ISO 8601)"),
        ({"fecha": "2027-01-01"}, "fecha: after 2026-12-31"),
        ({"fecha": "1999-12-31"}, "fecha: outside 2000-01-01 to inf"),
        ({"fecha": None}, "fecha: required"),
        ({"edad": 17}, "edad: outside 18 to 100"),
        ({"edad": "treinta"}, "edad: not a number"),
        ({"edad": None}, "edad: required"),
        ({"salario": "1,5"}, "salario: not a number"),
        ({"pagó": "quizás"}, "pagó: outside one of sí, no"),
        ({"pagó": None}, "pagó: no outcome"),
        ({"edad": 30, "consultas": 31}, "no more enquiries than years"),
        ({"edad": 17, "pagó": "quizás"}, "edad: outside 18 to 100; pagó: outside one of sí, no"),
    ],
)
def test_a_hard_rule_sets_the_row_aside(cells, rule, toy):
    loans, rejects = clean(one(**cells), toy, as_of=TODAY)
    assert len(loans) == 39 and rejects[["row", "rule"]].to_numpy().tolist() == [[0, rule]]
    column = rule.partition(":")[0]
    if column in cells:
        assert str(cells[column]) in rejects.loc[0, "value"]
    assert rejects.loc[0, list(cells)].map(str).tolist() == [str(v) for v in cells.values()], "the row is kept as given"


@pytest.mark.parametrize(
    ("column", "cell", "reported"),
    [
        ("edad", 999, 999), ("salario", 0, 0), ("salario", 22e9, 22e9), ("salario", 299.99, 299.99), ("tendencia", "8315", "8315"),
        ("tendencia", -3.5, "-3.5"), ("tendencia", "subiendo", "subiendo"),
    ],
)  # fmt: skip
def test_codes_stray_and_outlying_values_become_missing_and_are_kept(column, cell, reported, toy):
    loans, rejects = clean(one(**{column: cell}), toy)
    assert not len(rejects) and pd.isna(loans.loc[0, column]) and pd.notna(loans.loc[0, f"{column}__raw"])
    assert loans[f"{column}__raw"].notna().sum() == 1
    assert as_reported(loans).loc[0, column] == reported


@pytest.mark.parametrize(("column", "cell"), [("edad", 18), ("edad", 100), ("salario", 300), ("salario", 9000), ("consultas", 51), ("producto", "new")])
def test_what_is_allowed_or_only_counted_stays(column, cell, toy):
    loans, rejects = clean(one(**{column: cell, "edad": cell if column == "edad" else 60}), toy)
    assert not len(rejects) and loans.loc[0, column] == cell


def test_what_is_only_counted_is_reported(toy):
    report = rule_report(one(consultas=51, edad=60), toy)
    assert report.loc["consultas: outside 0 to 50"].tolist() == [1, 0.025, "warn"]


def test_a_code_among_dates():
    coded = dictionary(("min = 2000-01-01\nrequired = true", 'min = 2000-01-01\noutside = "missing"\ncodes = {1900-01-01 = "unknown"}'))
    loans, rejects = clean(table(fecha=["1900-01-01", "1950-05-05"] + ["2025-01-01"] * 38), coded)
    assert not len(rejects) and loans["fecha"].isna().sum() == 2
    assert sorted(as_reported(loans)["fecha"].dt.year)[:2] == [1900, 1950]


def test_duplicates(toy):
    raw = pd.concat([table(), table().head(3), table().head(1).assign(salario=1)])
    loans, rejects = clean(raw, toy)
    assert len(loans) == 41 and rejects["row"].tolist() == [40, 41, 42] and set(rejects["rule"]) == {"repeats another row"}


def test_refused_rows_survive_a_file(toy, tmp_path):
    _, rejects = clean(one(edad=17), toy)
    write_artifact(tmp_path, "rejects.csv", rejects)
    assert read_artifact(tmp_path, "rejects.csv").loc[0, ["rule", "value", "edad"]].tolist() == ["edad: outside 18 to 100", 17, 17]


@pytest.mark.parametrize("name", ["row", "rule", "value"])
def test_a_column_named_like_one_of_the_rejects(name):
    other = dictionary(("[columns.producto]", f"[columns.{name}]"))
    _, rejects = clean(one(edad=17).rename(columns={"producto": name}), other)
    assert rejects["row"].tolist() == [0] and rejects[f"{name}_given"].tolist() == ["04"]


# --- outcomes ---


@pytest.mark.parametrize(("outcome", "word"), [("sí", "good"), ("no", "bad")])
def test_a_single_class(outcome, word, toy):
    message = told(lambda: clean(table(pagó=outcome), toy))
    assert f"every loan is {word} (pagó)" in message and "sí and no" in message


def test_bad_is_one_whatever_the_file_says(toy):
    reverse = dictionary(('good = "sí"', 'good = "no"'))
    assert clean(table(), toy)[0]["bad"].tolist() == [0, 1] * 20
    assert clean(table(), reverse)[0]["bad"].tolist() == [1, 0] * 20
    assert clean(table(), toy)[0]["bad"].dtype == "int8"


def test_an_outcome_that_is_still_open():
    opened = dictionary(('levels = ["sí", "no"]', 'levels = ["sí", "no"]\ncodes = {vigente = "still running"}'))
    _, rejects = clean(one(pagó="vigente"), opened)
    assert rejects["rule"].tolist() == ["pagó: no outcome"]
    loans, rejects = clean(one(pagó="vigente"), opened, labelled=False)
    assert not len(rejects) and np.isnan(loans.loc[0, "bad"])


@pytest.mark.parametrize(
    ("raw", "words"),
    [(table(edad=5), ["all 40 rows", "edad: outside 18 to 100, such as '5'"]), (table(salario="1,5"), ["all 40 rows", "a comma within a number"]), (table(0), ["no rows"])],
)
def test_nothing_left(raw, words, toy):
    message = told(lambda: clean(raw, toy))
    assert all(w in message for w in words), message


# --- one row or many, once or twice ---

MESSY = {
    "fecha": st.sampled_from(["2025-03-01", "2025-03-01T10:00:00-05:00", "2025-03-01T10:00:00Z", "31/12/2024", "1999-01-01", "today", "", None, 20250301]),
    "edad": st.sampled_from([44, 44.0, "44", " 44 ", 999, "999.0", 17, "abc", True, None, np.inf]),
    "salario": st.one_of(st.sampled_from([0, "0", -0.0, "n/a", None, "1,5", 22e9]), st.floats(allow_nan=False), st.integers(-10, 10_000)),
    "consultas": st.sampled_from([0, 3, 51, -1, None, "3"]),
    "tendencia": st.sampled_from(["creciente", " estable", "8315", 8315, 8315.0, 1, True, 1.0, "1", "NA", None]),
    "producto": st.sampled_from(["04", 4, 4.0, "4.0", "none", True, 1, False, 0, -0.0, None]),
    "atraso": st.sampled_from([95.25, None]),
    "pagó": st.sampled_from(["sí", "no", "quizás", None]),
}
batches = st.lists(st.fixed_dictionaries(MESSY), min_size=1, max_size=6).map(lambda rows: pd.DataFrame(rows, dtype=object))


@settings(max_examples=40, deadline=None)
@given(batches)
def test_a_row_alone_is_as_in_a_batch(raw):
    toy = dictionary()
    together = set_missing(raw, toy)
    for i in range(len(raw)):
        assert_frame_equal(set_missing(raw.iloc[[i]], toy), together.iloc[[i]])


@settings(max_examples=40, deadline=None)
@given(batches)
def test_cleaning_twice_is_cleaning_once_and_nothing_is_lost(raw):
    toy = dictionary()
    once = set_missing(raw, toy)
    assert_frame_equal(set_missing(once, toy), once)
    assert_frame_equal(as_reported(once), pd.DataFrame({c: typed(raw[c], toy.columns[c]) for c in raw}))


@settings(max_examples=40, deadline=None)
@given(batches)
def test_every_row_is_kept_or_set_aside(raw):
    try:
        loans, rejects = clean(raw, dictionary(), as_of=TODAY)
    except DataError as error:
        assert "rows break" in str(error) or "every loan is" in str(error)
    else:
        assert len(loans) + len(rejects) == len(raw)
        assert (rejects["rule"] != "").all()


# --- dictionaries ---


def test_both_dictionaries_load(pago):
    cards = Portfolio.load(UCI)
    assert pago.good == "1" and cards.good == "0" and cards.date is None
    for portfolio in (pago, cards):
        assert all(c.label["es"] and c.label["en"] for c in portfolio.all_columns.values())
        outcomes = {c.name for c in portfolio.all_columns.values() if c.known == "outcome"}
        assert portfolio.target in outcomes and not outcomes & {*portfolio.features, *portfolio.monitored}
    assert "puntaje" not in pago.features and "SEX" not in cards.features and "SEX" in cards.monitored and "ID" not in cards.monitored


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("schema = 1", "schema = 2", "expected 'schema = 1' at the top, found 2"),
        ('name = "toy"', "", "'name' is missing"),
        ('name = "toy"', 'nombre = "toy"', "unknown key 'nombre'"),
        ('name = "toy"', "name = 3", "name = 3; expected text"),
        ('name = "toy"', 'name = "toy"\ncosts = {lgx = 0.5}', "did you mean 'lgd'?"),
        ("required = true", "requird = true", "column 'fecha' has the unknown key 'requird'; did you mean 'required'?"),
        ("required = true", 'required = "yes"', "expected true or false"),
        ('type = "count"', 'type = "number"', "type = 'number'; allowed are money, count"),
        ('type = "count"', "", "'type' is missing"),
        ('type = "count"', 'type = "count"\nlevels = [1, 2]', "levels"),
        ('type = "count"', 'type = "count"\nsign = 2', "sign = 2; allowed are -1, 0, 1"),
        ('type = "count"', 'type = "count"\nindex = "ipc"', "the index 'ipc', which is not defined"),
        ('type = "category"', 'type = "category"\nmax = 3', "for numbers and dates"),
        ("min = 18", 'min = "18"', "expected numbers, without quotes"),
        ("min = 18", "min = 180", "a min of 180 above its max of 100"),
        ("min = 2000-01-01", "min = 2000", "expected dates"),
        ("{999 =", "{abc =", "the code 'abc', which is not a number"),
        ('outside = "missing"', 'outside = "drop"', "outside = 'drop'; allowed are reject, missing, warn"),
        ("[columns.producto]", "[columns.bad]", "rename it"),
        ('target = "pagó"', 'target = "pago"', "target names 'pago', which is not among the columns"),
        ('good = "sí"', 'good = "si"', "needs two levels, one of them the good value 'si'"),
        ('date = "fecha"', 'date = "edad"', "date names 'edad', which is of type count"),
        ('amount = "salario"', 'amount = "producto"', "amount names 'producto', which is of type category"),
        ("consultas <= edad", "consultas <= edades", "rule 'no more enquiries than years' names 'edades', which is not among the columns"),
        ("consultas <= edad", "consultas - edad", "expected a comparison"),
        ("consultas <= edad", "consultas <=", "invalid syntax"),
        ('action = "reject"', 'action = "missing"', "allowed are reject, warn"),
        ('action = "reject"', "", "'action' is missing"),
        ("salario / edad", "salario / producto", "reads 'producto', which is of type category, not a number"),
        ("salario / edad", "salario > edad", "expected a number, not a comparison"),
        ("salario / edad", "atraso / edad", "reads 'atraso', which is known only after the outcome"),
        ("[derived.salario_por_edad]", "[derived.edad]", "has the name of a column of the file"),
        ('type = "ratio"', 'type = "category"', "of type category; expected a quantity"),
    ],
)
def test_dictionaries_that_do_not_hold_together(old, new, words):
    assert words in told(lambda: dictionary((old, new)))


def test_an_outcome_that_is_not_refused_when_unknown():
    assert "can only be refused" in told(lambda: dictionary(('levels = ["sí", "no"]', 'levels = ["sí", "no"]\noutside = "warn"')))


def test_the_target_is_an_outcome_even_if_its_entry_does_not_say_so():
    silent = dictionary(('levels = ["sí", "no"]\nknown = "outcome"', 'levels = ["sí", "no"]'))
    assert silent.columns["pagó"].known == "outcome"


@pytest.mark.parametrize(("content", "words"), [(b"schema = ", "is not a TOML file"), (TOY.encode("latin-1"), "is not a TOML file"), (TOY.encode("utf-8-sig"), "")])
def test_dictionary_files(content, words, tmp_path):
    path = tmp_path / "my.toml"
    path.write_bytes(content)
    if words:
        assert words in told(lambda: Portfolio.load(path))
    else:
        assert Portfolio.load(path).name == "toy"


@pytest.mark.parametrize("name", ["pago_atempo", "nowhere.toml"])
def test_an_unknown_dictionary_lists_the_packaged_ones(name):
    message = told(lambda: Portfolio.load(name))
    assert name in message and "pago_atiempo" in message


# --- expressions ---


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("a / b", [0.5, np.nan, np.nan]),
        ("max(a, b, 3)", [3, 4, np.nan]),
        ("min(a, 0)", [0, 0, np.nan]),
        ("-a ** 2 + 1", [0, -15, np.nan]),
        ("log(b)", [np.log(2), np.nan, np.log(5)]),
        ("a <= b", [True, False, False]),
    ],
)
def test_arithmetic(expression, expected):
    inputs = {"a": np.array([1.0, 4, np.nan]), "b": np.array([2.0, 0, 5])}
    before = {k: v.copy() for k, v in inputs.items()}
    np.testing.assert_array_equal(evaluate(expression, inputs), expected)
    assert all(np.array_equal(inputs[k], before[k], equal_nan=True) for k in inputs), "inputs are not touched"


@pytest.mark.parametrize(
    "expression",
    [
        "__import__('os').system('true')", "a.__class__", "(lambda: 1)()", "[a for a in (1, 2)]", "a if 1 else 2", "a[0]", "'text'", "a @ a", "f(a)",
        "max(a)", "log(a, a)", "max(a, key=a)", "a and a", "1 < a < 2", "(a > 0) + 1", "a := 1", "a +", "", "print(a); a",
    ],
)  # fmt: skip
def test_expressions_refuse_code(expression):
    assert told(lambda: evaluate(expression, {"a": np.ones(2)}))


def test_names_of_an_expression():
    assert names_in(" max(a, log1p(b)) / 2") == ["a", "b"]


# --- artifacts ---


def test_nothing_half_written(tmp_path):
    target = tmp_path / "run" / "alerts.json"
    write_artifact(tmp_path / "run", "alerts.json", {"n": 1})
    with pytest.raises(RuntimeError), written(target) as beside:
        beside.write_text('{"n": ')
        raise RuntimeError("power failure")
    with pytest.raises(ValueError, match="JSON"):
        write_artifact(tmp_path / "run", "alerts.json", {"n": float("nan")})
    assert read_artifact(tmp_path / "run", "alerts.json") == {"n": 1}
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["alerts.json"]


@pytest.mark.parametrize(
    ("name", "content"),
    [("loans.parquet", table()), ("t.csv", pd.DataFrame({"a": [1, 2]})), ("t.json", {"año": [1, None]}), ("t.md", "# título\n"), ("m.joblib", {"any": {1, 2}})],
)
def test_artifacts_come_back(name, content, tmp_path):
    write_artifact(tmp_path, name, content)
    back = read_artifact(tmp_path, name)
    assert_frame_equal(back, content) if isinstance(content, pd.DataFrame) else None
    assert isinstance(content, pd.DataFrame) or back == content


def test_a_missing_artifact_names_its_chapter(tmp_path):
    assert "nbs/03_training.ipynb" in told(lambda: read_artifact(tmp_path, "best_model.joblib"))


def test_run_folders_count_from_the_project(tmp_path, monkeypatch):
    monkeypatch.setenv("CREDITRISK_HOME", str(tmp_path))
    assert load.run_path("output/dev") == tmp_path / "output" / "dev"
    assert load.run_path(tmp_path / "x") == tmp_path / "x"
    monkeypatch.delenv("CREDITRISK_HOME")
    (tmp_path / "settings.ini").touch()
    (tmp_path / "nbs").mkdir()
    monkeypatch.chdir(tmp_path / "nbs")
    assert load.run_path("output/dev") == tmp_path / "output" / "dev"


# --- the real files, where they are ---

NULLS = {
    "tendencia_ingresos": 2932, "promedio_ingresos_datacredito": 2930, "saldo_mora_codeudor": 590, "saldo_principal": 405, "saldo_mora": 156,
    "saldo_total": 156, "puntaje_datacredito": 6,
}  # fmt: skip


@pytest.fixture(scope="module")
def real(pago) -> pd.DataFrame:
    path = SEED / "Base_de_datos.csv"
    if not path.is_file():
        pytest.skip(f"the real portfolio is not at {path}; set CREDITRISK_SEED")
    return read_loans(path, pago)


def test_the_real_portfolio(real, pago):
    nulls = real.isna().sum()
    assert nulls[nulls > 0].to_dict() == NULLS
    loans, rejects = clean(real, pago, as_of=TODAY)
    assert (len(loans), len(rejects), int(loans["bad"].sum())) == (10_763, 0, 511)
    assert loans["tendencia_ingresos__raw"].notna().sum() == 58
    gone = {b.rule: int(b.rows.sum()) for b in find_breaks(real, pago, as_of=TODAY) if b.action == "missing"}
    assert gone["edad_cliente: special code"] == 150 and gone["salario_cliente: special code"] == 24


def test_the_real_portfolio_is_restored_exactly(real, pago):
    loans, _ = clean(real, pago, as_of=TODAY)
    given = pd.DataFrame({c: typed(real[c], pago.columns[c]) for c in real}).sort_values(pago.date, kind="stable", ignore_index=True)
    assert_frame_equal(as_reported(loans)[list(given)], given)


def test_the_real_workbook_holds_the_same_loans(real, pago):
    path = SEED / "Base_de_datos.xlsx"
    if not path.is_file():
        pytest.skip(f"the real workbook is not at {path}")
    expected, _ = clean(real, pago, as_of=TODAY)
    assert_frame_equal(clean(read_loans(path, pago), pago, as_of=TODAY)[0], expected)


def test_a_portfolio_without_date():
    path = SEED.parent / "uci_credit_card.csv"
    if not path.is_file():
        pytest.skip(f"the second portfolio is not at {path}; set CREDITRISK_SEED")
    cards = Portfolio.load(UCI)
    loans, rejects = clean(read_loans(path, cards), cards)
    assert (len(loans), len(rejects), int(loans["bad"].sum())) == (30_000, 0, 6_636)
    assert loans["ID"].tolist()[:3] == ["1", "2", "3"], "the order of the file"
    assert loans["EDUCATION"].isna().sum() == 345 and loans["MARRIAGE"].isna().sum() == 54
    derived = with_derived(loans, cards)[list(cards.derived)]
    assert derived.notna().all().all() and derived["peor_atraso"].max() == 8
