"Changes between variables: sums that add up exactly, shuffled columns that are found and laid to the right one, clean batches left alone."


import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from embedded import draw, loans, portfolio

from creditrisk.counts import Binned, bits_of
from creditrisk.dependence import Moments, column_scores, correlations
from creditrisk.profile import Profile


KINDS = {"a": "money", "b": "count", "c": "ratio"}
values = st.lists(st.tuples(*[st.one_of(st.none(), st.floats(-1e12, 1e12, allow_subnormal=False), st.integers(0, 60)) for _ in KINDS]), max_size=40)


def moments(frame: pd.DataFrame) -> Moments:
    sampled = np.arange(len(frame)) < 0
    return Moments.of({c: column_scores(Binned(bits_of(frame[c].to_numpy("float64"))), KINDS[c]) for c in KINDS}, KINDS, len(frame), sampled)


@given(values, st.integers(0, 40))
@settings(max_examples=60, deadline=None)
def test_moments_add_exactly(rows, cut):
    frame = pd.DataFrame(rows, columns=list(KINDS), dtype="float64")
    a, b, whole = moments(frame[:cut]), moments(frame[cut:]), moments(frame)
    assert a + b == b + a == whole == Moments.from_dict(whole.to_dict())


def test_correlations_are_those_of_pandas():
    table = loans()[["capital_prestado", "cuota_pactada", "promedio_ingresos_datacredito"]]
    scores = {c: column_scores(Binned(bits_of(table[c].to_numpy())), "money") for c in table}
    n, r, _ = correlations(Moments.of(scores, dict.fromkeys(table, "money"), len(table), np.zeros(len(table), bool)))
    assert np.allclose(r, pd.DataFrame(scores)[sorted(scores)].corr(), atol=1e-9) and n[0, 2] == table[["capital_prestado", "promedio_ingresos_datacredito"]].notna().all(axis=1).sum()


@pytest.mark.parametrize("name", ["cuota_pactada", "saldo_total", "cant_creditosvigentes"])
def test_a_shuffled_column_is_found_and_blamed(name):
    chance = np.random.RandomState(21)
    base, now = Profile.fit(draw(7500, chance), portfolio()), draw(5000, chance)
    table = base.drift(now.assign(**{name: chance.permutation(now[name])}))
    assert table.loc[name, ["alert", "cause", "tests"]].tolist() == [True, "dependence", "dependence"] and table["alert"].sum() == 1
    assert table.loc[name, "severity"] != "VERDE" and "correla" in table.loc[name, "change_es"]
    stored = Profile.from_json(base.to_json()).drift(now.assign(**{name: now[name]}))
    assert not stored["alert"].any()
