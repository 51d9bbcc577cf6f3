"""The sample portfolio keeps to its facts at any size, and to the real portfolio where that is at hand."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from creditrisk.sample import apportion, average_wage, by_knots, by_levels, ranks, read_facts, sample_loans, scale

ROOT = Path(__file__).parents[1]
FACTS = read_facts()
NULLS = {
    "puntaje_datacredito": 6, "saldo_mora": 156, "saldo_total": 156, "saldo_principal": 405,
    "saldo_mora_codeudor": 590, "promedio_ingresos_datacredito": 2_930, "tendencia_ingresos": 2_932,
}
TEXT = pd.Series([""]).dtype
OUTCOME = ["puntaje", "Pago_atiempo"]


@pytest.fixture(scope="module")
def loans():
    return sample_loans()


@pytest.fixture(scope="module")
def real():
    path = ROOT / os.environ.get("CREDITRISK_SEED", "../shared/data/seed") / "Base_de_datos.csv"
    if not path.exists():
        pytest.skip(f"the real portfolio is not at {path}: set CREDITRISK_SEED to its folder")
    return pd.read_csv(path)


def fingerprint(frame):
    return int(pd.util.hash_pandas_object(frame).sum())


def bads_by_period(frame):
    period = frame.fecha_prestamo.str[:7].map(dict(zip(FACTS["calendar"]["months"], FACTS["calendar"]["period"])))
    return (frame.Pago_atiempo == 0).groupby(period).sum()


def first_and_last(frame):
    "70 % and 30 % by date, without date and outcome"
    by_date = frame.sort_values("fecha_prestamo", kind="stable").drop(columns=["fecha_prestamo", *OUTCOME])
    cut = int(0.7 * len(frame))
    return by_date[:cut], by_date[cut:]


def psi(a, b):
    "On deciles of the first, nulls left out, as in the source's published table"
    edges = np.unique(a.dropna().quantile(np.linspace(0, 1, 11)))[1:-1]
    p, q = (np.bincount(np.searchsorted(edges, x.dropna(), side="right"), minlength=len(edges) + 1) / x.count() for x in (a, b))
    p, q = p.clip(1e-6), q.clip(1e-6)
    return ((q - p) * np.log(q / p)).sum()


def ks(a, b):
    a, b = np.sort(a.dropna()), np.sort(b.dropna())
    at = np.concatenate([a, b])
    return np.abs(np.searchsorted(a, at, side="right") / len(a) - np.searchsorted(b, at, side="right") / len(b)).max()


def cramers_v(a, b):
    "Missing is a level of its own, as in the source's published table"
    counts = pd.concat([a.value_counts(dropna=False), b.value_counts(dropna=False)], axis=1).fillna(0).to_numpy()
    expected = np.outer(counts.sum(1), counts.sum(0)) / counts.sum()
    return np.sqrt(((counts - expected) ** 2 / expected).sum() / counts.sum())


def severity(a, b):
    if not pd.api.types.is_numeric_dtype(a):
        return "VERDE" if cramers_v(a, b) < 0.1 else "AMARILLO"
    size, distance = psi(a, b), ks(a, b)
    return "ROJO" if size >= 0.25 or distance >= 0.2 else "AMARILLO" if size >= 0.1 or distance >= 0.1 else "VERDE"


def severities(frame):
    first, last = first_and_last(frame)
    return {name: severity(first[name], last[name]) for name in first}


def plain_logistic(frame):
    text = ["tipo_laboral", "tendencia_ingresos"]
    numeric = frame.columns.drop(text)
    return make_pipeline(
        make_column_transformer(
            (make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), list(numeric)),
            (make_pipeline(SimpleImputer(strategy="constant", fill_value="none"), OneHotEncoder(handle_unknown="ignore")), text),
        ),
        LogisticRegression(max_iter=1_000),
    )


def auc(frame, *, with_leak=False):
    features = frame.drop(columns=["fecha_prestamo", "Pago_atiempo"] + ([] if with_leak else ["puntaje"]))
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    return cross_val_score(plain_logistic(features), features, 1 - frame.Pago_atiempo, cv=folds, scoring="roc_auc").mean()


# ------------------------------------------------------------------ the same every time

def test_same_arguments_same_loans(loans):
    assert fingerprint(loans) == fingerprint(sample_loans())
    assert fingerprint(sample_loans(200, 8)) != fingerprint(sample_loans(200, 9))


def test_same_loans_in_another_process():
    "Nothing hangs on the order of a set, which changes from process to process"
    code = "import pandas as pd; from creditrisk.sample import sample_loans; print(int(pd.util.hash_pandas_object(sample_loans(300)).sum()))"
    for salt in ("1", "2"):
        env = os.environ | {"PYTHONHASHSEED": salt}
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, check=True)
        assert int(done.stdout) == fingerprint(sample_loans(300))


def test_the_callers_random_state_is_left_alone():
    np.random.seed(1)
    before = np.random.get_state()[1].copy()
    sample_loans(20)
    assert (np.random.get_state()[1] == before).all()


# ------------------------------------------------------------------ the schema of the lender's file, at any size

@pytest.mark.parametrize("n", [1, 2, 11, 50, 600, 25_000])
def test_any_number_of_rows(n):
    sample = sample_loans(n)
    assert len(sample) == n and list(sample) == list(FACTS["types"])
    for name, kind in FACTS["types"].items():
        assert sample[name].dtype == (TEXT if kind == "str" else kind), name
    assert sample.fecha_prestamo.str.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d").all()
    months = sample.fecha_prestamo.str[:7].value_counts().reindex(FACTS["calendar"]["months"], fill_value=0)
    assert months.tolist() == apportion(n, FACTS["calendar"]["loans"]).tolist()
    assert (sample.Pago_atiempo == 0).sum() == scale(511, n)
    for name, count in NULLS.items():  # incomes are rounded once a period, everything else once
        assert abs(sample[name].isna().sum() - scale(count, n)) <= (3 if "ingresos" in name else 1), name


@pytest.mark.parametrize("n", [50, 51, 55, 63, 79])
def test_both_classes_from_fifty_rows_on(n):
    assert sample_loans(n, seed=n).Pago_atiempo.nunique() == 2


@pytest.mark.parametrize("n", [0, -5])
def test_no_rows_is_an_error_in_words(n):
    with pytest.raises(ValueError, match=f"at least 1 loan, not {n}"):
        sample_loans(n)


@pytest.mark.parametrize("n", [3, 600, 25_000])
def test_columns_agree_with_one_another(n):
    sample = sample_loans(n)
    sectors = sample.filter(like="creditos_sector").sum(axis=1)
    thin, no_credit = sample.saldo_total.isna(), sample.saldo_principal.isna()
    assert (sectors <= sample.cant_creditosvigentes).all()
    assert (no_credit == (sample.cant_creditosvigentes == 0)).all()
    assert (thin == sample.saldo_mora.isna()).all() and no_credit[thin].all() and sample.saldo_mora_codeudor.isna()[no_credit].all()
    assert not (sample.saldo_principal > sample.saldo_total).any() and not (sample.saldo_mora > sample.saldo_total).any()
    assert sample.tendencia_ingresos.isna()[sample.promedio_ingresos_datacredito.isna()].all()
    assert (sample.cuota_pactada > 0).all() and (sample.capital_prestado > 0).all()


# ------------------------------------------------------------------ the facts

def test_nulls_and_base_rate_are_those_of_the_facts(loans):
    assert loans.isna().sum()[lambda count: count > 0].to_dict() == NULLS
    assert round(loans.Pago_atiempo.mean(), 4) == 0.9525


def test_volumes_and_bads_follow_the_calendar(loans):
    assert loans.fecha_prestamo.str[:7].value_counts().sort_index().tolist() == FACTS["calendar"]["loans"]
    assert bads_by_period(loans).tolist() == FACTS["risk"]["bads"]["loans"]
    dates = pd.to_datetime(loans.fecha_prestamo)
    assert FACTS["calendar"]["first"] <= str(dates.min()) and dates.max() < pd.Timestamp(FACTS["calendar"]["last"]) + pd.Timedelta(days=1)
    assert not loans.fecha_prestamo.is_monotonic_increasing  # shuffled, as the lender's file is


@pytest.mark.parametrize("name", ["tipo_credito", "plazo_meses", "tipo_laboral"])
def test_levels_occur_as_often_as_counted(loans, name):
    table = FACTS["drawn"][name]
    counted = pd.Series(np.atleast_2d(table["loans"]).sum(axis=0), index=table["levels"])
    assert loans[name].value_counts().sub(counted, fill_value=0).abs().max() == 0


def test_no_fact_is_a_single_loans():
    def tables(node, key):
        own = [np.atleast_2d(node[key])] if key in node else []
        return own + [table for child in node.values() if isinstance(child, dict) for table in tables(child, key)]

    def digits(x):
        return next(k for k in range(1, 17) if float(f"{x:.{k - 1}e}") == x)

    assert len(tables(FACTS, "loans")) > 15 and len(tables(FACTS, "knots")) > 10
    assert all(((cells == 0) | (cells >= 5)).all() for cells in tables(FACTS, "loans"))
    for table in tables(FACTS, "knots"):
        for knots in table:
            assert all(digits(end) <= 2 for end, beside in (knots[:2], knots[:-3:-1]) if end != beside), knots


# ------------------------------------------------------------------ what makes it worth testing on

def test_corrupt_values_are_there(loans):
    dates, trend = pd.to_datetime(loans.fecha_prestamo), loans.tendencia_ingresos.dropna()
    impossible = loans.edad_cliente[loans.edad_cliente > 100]
    assert len(impossible) == 150 and set(impossible) == {121, 122, 123}
    assert impossible[dates.sort_values().index.intersection(impossible.index, sort=False)].is_monotonic_increasing  # they grow with the calendar
    assert {-7, 0, 7} <= set(loans.puntaje_datacredito.dropna()) and (loans.puntaje_datacredito == 0).sum() > 100
    assert trend.str.fullmatch(r"-?\d+").sum() == 58 and set(trend[~trend.str.contains(r"\d")]) == {"Creciente", "Estable", "Decreciente"}
    assert (loans.salario_cliente == 0).sum() > 5 and (loans.salario_cliente > 100e6).sum() > 30
    assert loans.promedio_ingresos_datacredito.between(20_000, 40_000).sum() > 50  # a day's wage for a month's


def test_the_leak_separates_and_nothing_else_does(loans):
    bad = loans.Pago_atiempo == 0
    assert (bad == (loans.puntaje <= 63)).all()
    numeric = loans.select_dtypes("number").drop(columns=OUTCOME)
    assert max(abs(roc_auc_score(bad, values.fillna(values.median())) - 0.5) for _, values in numeric.items()) < 0.25


def test_the_minimum_wage_drifts_and_little_else(loans):
    first, last = first_and_last(loans)
    assert 0.31 < psi(first.promedio_ingresos_datacredito, last.promedio_ingresos_datacredito) < 0.40
    found = severities(loans)
    assert {name for name, level in found.items() if level == "ROJO"} == {"promedio_ingresos_datacredito"}
    assert {name for name, level in found.items() if level == "AMARILLO"} == {"plazo_meses", "total_otros_prestamos", "cuota_pactada"}


def test_one_income_in_seven_is_the_minimum_wage_to_the_peso(loans):
    income, months, yearly = loans.promedio_ingresos_datacredito.dropna(), FACTS["calendar"]["months"], FACTS["wage"]["yearly"]
    averages = np.floor([average_wage(months, yearly, back) for back in (0, 1)]).ravel()
    assert 0.10 < income.isin(averages).mean() < 0.20
    assert income.value_counts().index[0] == yearly["2024"]


@pytest.fixture(scope="module")
def honest_auc(loans):
    return auc(loans)


def test_an_honest_model_is_weak_and_a_leaky_one_is_perfect(loans, honest_auc):
    assert 0.63 < honest_auc < 0.69
    assert auc(loans, with_leak=True) > 0.995


# ------------------------------------------------------------------ the pieces

@pytest.mark.parametrize("n", [0, 1, 7, 10_763, 999_999])
def test_apportion_adds_up_and_strays_less_than_one(n):
    weights = np.array(FACTS["calendar"]["loans"])
    share = apportion(n, weights)
    assert share.sum() == n and np.abs(share - n * weights / weights.sum()).max() < 1


def test_a_marginal_is_met_whatever_the_order_numbers_are():
    z = np.random.RandomState(0).standard_cauchy(1_000)
    values = by_knots(ranks(z), [0, 1, 10], [0, 0.5, 1])
    assert abs(np.median(values) - 1) < 0.02 and values[z.argmax()] == values.max()
    assert np.unique(by_levels(ranks(z), ["a", "b"], [1, 3]), return_counts=True)[1].tolist() == [250, 750]


# ------------------------------------------------------------------ next to the real portfolio

def test_real_schema_and_nulls(loans, real):
    assert list(loans) == list(real) and len(loans) == len(real)
    assert loans.dtypes.tolist() == real.dtypes.tolist()
    assert loans.isna().sum().tolist() == real.isna().sum().tolist()


def test_real_marginals(loans, real):
    distance = {name: ks(real[name], loans[name]) for name in real.select_dtypes("number")}
    assert max(distance.values()) < 0.05 and sorted(distance.values())[len(distance) // 2] < 0.015
    for name in ("tipo_laboral", "tendencia_ingresos"):
        shares = pd.concat([frame[name].value_counts(normalize=True) for frame in (real, loans)], axis=1).fillna(0)
        assert shares.diff(axis=1).iloc[:, 1].abs().max() < 0.01


def test_real_quantiles(loans, real):
    at = [0.1, 0.25, 0.5, 0.75, 0.9]
    for name in ("capital_prestado", "cuota_pactada", "salario_cliente", "edad_cliente", "puntaje_datacredito", "promedio_ingresos_datacredito"):
        assert (loans[name].quantile(at) / real[name].quantile(at)).between(0.93, 1.07).all(), name


def test_real_dependence(loans, real):
    names = real.select_dtypes("number").columns.drop("puntaje")
    error = (loans[names].corr("spearman") - real[names].corr("spearman")).abs().to_numpy()[np.triu_indices(len(names), 1)]
    assert np.nanmean(error) < 0.02 and np.nanmax(error) < 0.15


def test_real_severities(loans, real):
    assert severities(loans) == severities(real)


def test_real_auc(honest_auc, real):
    assert abs(honest_auc - auc(real)) < 0.03


def test_no_real_loan_is_in_the_sample(loans, real):
    names = ["capital_prestado", "salario_cliente", "total_otros_prestamos", "cuota_pactada"]
    assert loans.merge(real, on=names).empty
