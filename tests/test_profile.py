"Profiles and drift: exact merging, round trips, degenerate columns, alarms that are believed and changes that are found."

import functools
import os
import random
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from embedded import draw, loans, portfolio

from creditrisk import chunks, counts, dependence, profile
from creditrisk.database import database
from creditrisk.drift import SEVERITIES, adjusted, js, ks, psi, two_shares
from creditrisk.load import Column, DataError, Portfolio, clean, read_loans
from creditrisk.profile import Profile, code_values, count_levels, count_numbers, float_codes

SEED = Path(os.environ.get("CREDITRISK_SEED", Path(__file__).parents[1] / "../shared/data/seed"))
ONE = Portfolio("one", {"x": Column("x", "money"), "k": Column("k", "category"), "y": Column("y", "category", known="outcome")}, "y", "1")


def frame(x, k="a") -> pd.DataFrame:
    return pd.DataFrame({"x": x, "k": k})


numbers = st.lists(st.one_of(st.floats(allow_subnormal=False), st.none(), st.integers(-(10**9), 10**9)), max_size=60)


@given(numbers, st.integers(0, 60), st.integers(0, 60))
@settings(max_examples=150, deadline=None)
def test_counts_add_exactly_in_any_order(values, i, j):
    column = pd.Series(values, dtype="float64")
    i, j = sorted((i, j))
    a, b, c = (count_numbers(part) for part in (column[:i], column[i:j], column[j:]))
    whole = count_numbers(column)
    assert a + b + c == a + (b + c) == c + a + b == whole
    assert whole.used + whole.missing == len(column) and (np.diff(whole.keys) > 0).all()


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False, allow_subnormal=False), min_size=2))
@settings(deadline=None)
def test_codes_keep_the_order_and_four_per_mille(values):
    ordered = np.sort(np.array(values))
    codes = float_codes(ordered)
    assert (np.diff(codes) >= 0).all()
    named = code_values(codes)
    assert (np.abs(named - ordered) <= np.abs(ordered) / 256 + 1e-300).all()


def test_profile_merges_and_comes_back_exactly():
    parts = [loans()[i : i + 1500] for i in range(0, len(loans()), 1500)]
    whole = Profile.fit(loans(), portfolio())
    random.Random(3).shuffle(parts)
    merged = functools.reduce(lambda a, b: a + b, [Profile.fit(p, portfolio()) for p in parts])
    assert merged == whole and merged.to_json() == whole.to_json()
    assert Profile.from_json(whole.to_json()) == whole and len(whole.to_json()) < 130_000
    assert whole.window == (f"{loans()[portfolio().date].min():%Y-%m-%d}", f"{loans()[portfolio().date].max():%Y-%m-%d}")


@pytest.mark.parametrize("large", [3000, 10**9])
def test_any_source_in_pieces_gives_the_same_profile(tmp_path, monkeypatch, large):
    for module in (chunks, counts, dependence, profile):
        monkeypatch.setattr(module, "LARGE", large, raising=False)
    whole = Profile.fit(loans(), portfolio())
    loans().to_parquet(tmp_path / "loans.parquet", row_group_size=2000)
    loans().to_csv(tmp_path / "loans.csv", index=False)
    loans().to_sql("loans", f"sqlite:///{tmp_path}/loans.db", index=False)
    sources = [(loans(), None), (tmp_path / "loans.parquet", None), (tmp_path / "loans.csv", None), (f"sqlite:///{tmp_path}/loans.db", "select * from loans")]
    monkeypatch.setattr(chunks, "ROWS", 1700)
    for source, query in sources:
        assert Profile.fit(source, portfolio(), query=query).to_json() == whole.to_json(), source
        assert whole.like(source, query=query) == whole, source
    parts = [Profile.fit(loans()[i : i + 1500], portfolio()) for i in range(0, len(loans()), 1500)]
    assert functools.reduce(lambda a, b: b + a, parts) == whole and bool(whole.moments.sums[0].any()) == (large > len(loans()))


def test_a_query_of_postgresql_gives_the_same_profile(postgres_url, monkeypatch):
    with database(postgres_url, DataError) as engine:
        loans().to_sql("loans", engine, index=False)
    monkeypatch.setattr(chunks, "ROWS", 1700)
    assert Profile.fit(postgres_url, portfolio(), query="select * from loans").to_json() == Profile.fit(loans(), portfolio()).to_json()


def test_sources_that_cannot_be_read_are_refused_in_words(tmp_path):
    for source, said in [(tmp_path / "x.xlsx", "in pieces"), (tmp_path / "x.csv", "no file"), ("sqlite:///x.db", "needs a query")]:
        with pytest.raises(DataError, match=said):
            Profile.fit(source, portfolio())


def test_every_row_five_times_is_no_drift():
    chance = np.random.RandomState(14)
    base = Profile.fit(draw(7500, chance), portfolio())
    five = [base.drift(pd.concat([draw(1000, chance)] * 5)) for _ in range(10)]
    assert sum(table["alert"].any() for table in five) <= 1 and all(700 < table["effective_current"].iloc[0] < 1500 for table in five)
    assert base.drift(draw(5000, chance))["effective_current"].iloc[0] == 5000, "drawn with replacement from the same loans: repetition is natural"


def test_no_raw_row_is_kept():
    name = next(c for c in portfolio().monitored if portfolio().columns[c].type == "money")
    assert str(int(loans()[name].max())) not in Profile.fit(loans(), portfolio()).to_json()


def test_profiles_that_do_not_fit_together_are_refused_in_words():
    base = Profile.fit(frame([1.0, 2.0]), ONE)
    with pytest.raises(DataError, match="only one of the two has k"):
        base + Profile.fit(frame([1.0])[["x"]], ONE)
    with pytest.raises(DataError, match="schema"):
        Profile.from_json('{"schema": 99}')
    with pytest.raises(DataError, match="cannot be added"):
        count_numbers(pd.Series([1.0])) + count_levels(pd.Series(["a"]))


def test_frame_and_profile_give_the_same_table():
    base, now = Profile.fit(loans()[:7000], portfolio()), loans()[7000:]
    pd.testing.assert_frame_equal(base.drift(now), base.drift(Profile.fit(now, portfolio())))
    assert base.drift(now).columns[:5].tolist() == ["type", "psi", "ks", "js", "cramers_v"] and base.drift(now).columns[5] == "severity"
    assert base.drift(now).index.name == "feature" and base.drift(now)["alert"].dtype == bool


def test_text_types_of_pandas_do_not_matter():
    base = Profile.fit(loans()[:7000], portfolio())
    text = [c for c in portfolio().monitored if portfolio().columns[c].categorical]
    for kind in ("category", "string"):
        assert base.like(loans()[:7000].astype(dict.fromkeys(text, kind))).columns == base.columns


@pytest.mark.parametrize("then", [np.arange(1000.0), np.zeros(1000), np.full(1000, np.nan), np.repeat([1.0, np.inf], 500), np.r_[np.zeros(999), 1e300]])
@pytest.mark.parametrize("now", [np.arange(500.0), np.zeros(500), np.full(500, np.nan), np.repeat([1.0, -np.inf], 250), np.array([]), np.array([3.0]), np.repeat("x", 500)])
def test_degenerate_columns_are_answered_for(then, now):
    table = Profile.fit(frame(then), ONE).drift(frame(pd.Series(now)))
    assert sorted(table.index) == ["k", "x"] and table["severity"].isin(SEVERITIES).all()
    if len(now) < 10:
        assert table.loc["k", "severity"] == "SIN_DATOS" and not table["alert"].any()


def test_infinities_count_as_missing():
    table = Profile.fit(frame(np.arange(1000.0)), ONE).drift(frame(pd.Series(np.arange(1000.0)).mask(np.arange(1000) < 100, np.inf)))
    assert table.loc["x", ["severity", "cause", "missing_current"]].tolist() == ["ROJO", "quality", 0.1]


@pytest.mark.parametrize(
    "damage, cause",
    [(lambda v: v * 1e9, "unit"), (lambda v: v * np.nan, "empty"), (lambda v: v.astype(str), "type"), (lambda v: v.map("{:,.2f}".format), "type"), (None, "gone")],
)  # fmt: skip
def test_a_broken_column_is_always_red(damage, cause):
    base, now = Profile.fit(loans()[:7000], portfolio()), loans()[7000:]
    numeric = [c for c in portfolio().monitored if portfolio().columns[c].numeric and (now[c].fillna(0) != 0).any()]
    for name in numeric:
        table = base.drift(now.drop(columns=name) if damage is None else now.assign(**{name: damage(now[name])}))
        assert table.loc[name, ["severity", "alert", "cause"]].tolist() == ["ROJO", True, cause], name


def test_a_new_column_is_named_and_others_are_left_alone():
    table = Profile.fit(loans()[:7000], portfolio()).drift(loans()[7000:].assign(barrio="x"))
    assert table.loc["barrio", ["alert", "cause"]].tolist() == [True, "new"] and "barrio" in table.index
    assert set(table.index) == {*portfolio().monitored, "barrio"}


def test_clean_batches_seldom_alert():
    chance = np.random.RandomState(11)
    base = Profile.fit(draw(7500, chance), portfolio())
    alerts = {n: [base.drift(draw(n, chance))["alert"].any() for _ in range(40)] for n in (500, 5000)}
    assert sum(alerts[500]) <= 5 and sum(alerts[5000]) <= 3, "expected one or two of forty, by chance"


def test_small_batches_say_so():
    chance = np.random.RandomState(12)
    base = Profile.fit(draw(7500, chance), portfolio())
    for n in (1, 11, 40, 100):
        table = base.drift(draw(n, chance))
        assert set(table["severity"]) == {"SIN_DATOS"} and not table["alert"].any() and table["psi"].isna().all()


def injected(change) -> pd.DataFrame:
    "Drift table after a change of the current batch."
    chance = np.random.RandomState(13)
    base, now = Profile.fit(draw(7500, chance), portfolio()), draw(5000, chance)
    return base.drift(change(now, chance.random_sample(len(now))))


def numeric_column() -> str:
    return portfolio().amount


def level_column() -> str:
    return next(c for c in portfolio().monitored if portfolio().columns[c].categorical and loans()[c].value_counts(normalize=True).iloc[1] > 0.2 and loans()[c].mode()[0].isalpha())


@pytest.mark.parametrize(
    "change",
    [
        lambda v, u: v + 0.15 * v.std(), lambda v, u: v.median() + 1.3 * (v - v.median()), lambda v, u: v.mask(u < 0.05), lambda v, u: v.mask(u < 0.03, v * 1000),
        lambda v, u: v.mask(u < 0.02, 999_999), lambda v, u: v.round(-5), lambda v, u: v.mask(u < 0.1, v.iloc[0]), lambda v, u: v.mask(v > v.quantile(0.99), v * 10),
    ],
    ids=["shift", "scale", "missing", "unit of some", "sentinel", "rounded", "stuck", "tail"],
)  # fmt: skip
def test_injected_changes_of_a_number_are_found(change):
    name = numeric_column()
    table = injected(lambda now, u: now.assign(**{name: change(now[name], u)}))
    assert table.loc[name, "alert"] and table.loc[name, "change_es"] and table["alert"].sum() <= 2


@pytest.mark.parametrize(
    "change",
    [lambda v, u: v.mask(u < 0.02, "otro"), lambda v, u: v.str.upper(), lambda v, u: v.mask((v == v.mode()[0]) & (u < 0.1), v.value_counts().index[1])],
    ids=["new level", "capitals", "mix"],
)  # fmt: skip
def test_injected_changes_of_a_category_are_found(change):
    name = level_column()
    table = injected(lambda now, u: now.assign(**{name: change(now[name], u)}))
    assert table.loc[name, "alert"] and table["alert"].sum() <= 2


def test_other_spellings_and_rounding_are_named():
    name = level_column()
    assert injected(lambda now, u: now.assign(**{name: now[name].str.upper() + " "})).loc[name, "tests"].split()[0] == "spelling"
    name = numeric_column()
    rounded = injected(lambda now, u: now.assign(**{name: now[name].round(-3)}))
    assert rounded.loc[name, ["severity", "cause", "tests"]].tolist() == ["AMARILLO", "quality", "rounded"], "steps of less than a bin's width"


def test_nuisances_are_no_news():
    chance = np.random.RandomState(15)
    base, now = Profile.fit(draw(20_000, chance), portfolio()), draw(20_000, chance)
    for name in (c for c in portfolio().monitored if portfolio().columns[c].type == "money" and now[c].std()):
        drawn = now[name].clip(now[name].quantile(0.001), now[name].quantile(0.999))
        assert not base.drift(now.assign(**{name: now[name] + 0.02 * drawn.std()})).loc[name, "alert"], name


def test_halved_amounts_and_vanished_values_are_red():
    name = numeric_column()
    assert injected(lambda now, u: now.assign(**{name: now[name] / 2})).loc[name, "severity"] == "ROJO"
    assert injected(lambda now, u: now.assign(**{name: now[name].mask(u < 0.6)})).loc[name, "severity"] == "ROJO"


@given(st.lists(st.tuples(st.integers(0, 500), st.integers(0, 500)), min_size=2, max_size=12))
@settings(deadline=None)
def test_measures_stay_in_their_ranges(table):
    x, y = np.array(table).T
    if x.sum() and y.sum():
        assert psi(x, y) >= 0 <= js(x, y) <= np.log(2) and 0 <= ks(x, y) <= 1 and abs(psi(x, y) - psi(y, x)) < 1e-9


def test_statistics_agree_with_scipy():
    from scipy import stats

    for k, n, j, m in [(3, 50, 9, 60), (0, 900, 4, 300), (180, 1000, 10, 200)]:
        exact = min(1, 2 * min(stats.hypergeom.sf(j - 1, n + m, k + j, m), stats.hypergeom.cdf(j, n + m, k + j, m)))
        assert abs(two_shares(k, n, j, m)[0] - exact) < 1e-9
    p = np.random.RandomState(1).random_sample(30) ** 3
    assert np.allclose(adjusted(p), stats.false_discovery_control(p))


@pytest.mark.skipif(not (SEED / "Base_de_datos.csv").is_file(), reason="the real portfolio is not here; CREDITRISK_SEED names its folder")
def test_the_real_portfolio():
    real, _ = clean(read_loans(SEED / "Base_de_datos.csv", portfolio()), portfolio())
    cut = int(len(real) * 0.7)
    found = Profile.fit(real[:cut], portfolio()).drift(real[cut:])
    assert found.loc["promedio_ingresos_datacredito", ["severity", "cause"]].tolist() == ["ROJO", "population"]
    published = pd.read_csv(SEED / "latest_drift_metrics.csv", index_col="feature")
    both = found.join(published[["ks", "psi"]].add_suffix("_published"), how="inner")
    numeric = both[both["type"] == "numeric"]
    assert (numeric["ks"] - numeric["ks_published"]).abs().max() < 0.02, "cleaning moves a few rows, binning nothing"
    assert abs(found.loc["promedio_ingresos_datacredito", "psi"] - 0.334) < 0.03
    sample = Profile.fit(loans()[:cut], portfolio()).drift(loans()[cut:])
    assert sample["severity"].to_dict() == found["severity"].to_dict(), "the embedded portfolio drifts like the real one"
