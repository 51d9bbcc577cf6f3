"The embedded portfolio, cleaned once for the test files that draw from it."

import functools

import numpy as np
import pandas as pd

from creditrisk.load import Portfolio, clean, sample_loans


@functools.cache
def portfolio() -> Portfolio:
    return Portfolio.load("pago_atiempo")


@functools.cache
def loans() -> pd.DataFrame:
    return clean(sample_loans(), portfolio())[0]


def draw(n: int, chance: np.random.RandomState) -> pd.DataFrame:
    "Loans drawn with replacement."
    return loans().iloc[chance.randint(0, len(loans()), n)].reset_index(drop=True)
