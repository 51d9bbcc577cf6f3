"Loans as a whole: chance is not told apart, change is, and what is strange is named without giving loans away."

import functools
import json

import numpy as np
import pandas as pd
import pytest
from embedded import loans, portfolio

from creditrisk.load import Column, DataError, Portfolio
from creditrisk.population import anomalies, domain_classifier, segments


@functools.cache
def halves() -> tuple[pd.DataFrame, pd.DataFrame]:
    some = loans().sample(3000, random_state=1)
    return some[:1500], some[1500:]


def test_halves_by_chance_are_not_told_apart_and_a_damaged_one_is():
    then, now = halves()
    same = domain_classifier(then, now, portfolio())
    assert same.low < 0.5 < same.high and len(same.features) == len(portfolio().monitored)
    raised = domain_classifier(then, now.assign(capital_prestado=now["capital_prestado"] * 3), portfolio())
    assert raised.low > 0.7 and raised.features[0][0] == "capital_prestado" and raised == domain_classifier(then, now.assign(capital_prestado=now["capital_prestado"] * 3), portfolio())


def test_segments_cover_every_loan_and_name_the_changed_one():
    then, now = halves()
    table = segments(then, now.drop(now.index[(now["tipo_laboral"] == "Empleado") & (np.arange(len(now)) % 2 == 0)]), portfolio(), score="edad_cliente")
    assert table.loc[0, "column"] == "tipo_laboral" and table["psi"].is_monotonic_decreasing and table["score_shift"].notna().any()
    assert np.allclose(segments(then, now, portfolio()).groupby("column")[["share_reference", "share_current"]].sum(), 1, atol=0.05), "but for segments under one percent"


def test_strange_loans_are_found_with_their_reasons():
    then, now = halves()
    odd = now.iloc[[0, 1]].assign(salario_cliente=9.9e9, tipo_credito=["77", "4"]).set_axis(["x", "y"])
    found = anomalies(then, pd.concat([now, odd]), portfolio(), most=20)
    assert set(found["row"][:2]) == {"x", "y"} and found["stranger"][0] == 0 and len(found) == 20
    assert {c["feature"] for c in found["columns"][0]} <= set(portfolio().monitored) and "salario_cliente" in {c["feature"] for c in found["columns"][1]}
    assert all(0 < len(c) <= 3 and set(c[0]) == {"feature", "value", "typical"} for c in found["columns"]) and json.dumps(found["columns"].tolist())


def test_what_cannot_be_compared_is_refused_in_words():
    then, now = halves()
    with pytest.raises(DataError, match="too few"):
        domain_classifier(then, now[:3], portfolio())
    with pytest.raises(DataError, match="nothing to compare"):
        segments(then, now[["fecha_prestamo"]], portfolio())


def test_missing_levels_and_empty_columns_are_survived():
    lender = Portfolio("one", {"x": Column("x", "money"), "k": Column("k", "category"), "y": Column("y", "category", known="outcome")}, "y", "1")
    frame = pd.DataFrame({"x": [np.nan] * 60, "k": [None, "a", "b"] * 20})
    assert domain_classifier(frame, frame, lender).auc < 0.6 and len(segments(frame, frame, lender)) >= 3 and len(anomalies(frame, frame, lender, most=5)) == 5
