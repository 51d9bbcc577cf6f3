"""How often drift is called where there is none, and how often it is found where it was put: beside Evidently and NannyML at their defaults."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
import numpy as np
import pandas as pd
from _peers import peer_python

from creditrisk.load import Portfolio, clean, read_loans
from creditrisk.profile import Profile

ROOT = Path(__file__).resolve().parent.parent
SEED = Path(os.environ.get("CREDITRISK_SEED", ROOT / "../shared/data/seed")) / "Base_de_datos.csv"
PEERS = {"evidently": ("evidently==0.7.*", "pandas<3"), "nannyml": ("nannyml==0.13.*", "pandas<3", "statsmodels")}
LEAST_THEN, COLUMNS_HIT = 7500, 3


@cache
def portfolio() -> Portfolio:
    return Portfolio.load("pago_atiempo")


@cache
def pool() -> pd.DataFrame:
    "The watched columns of the portfolio, its order in time forgotten."
    loans, _ = clean(read_loans(SEED if SEED.is_file() else "sample", portfolio()), portfolio())
    return loans[portfolio().monitored]


def draw(n: int, chance: np.random.RandomState) -> pd.DataFrame:
    "Loans of the portfolio, with replacement: nothing but chance differs between two draws."
    return pool().iloc[chance.randint(0, len(pool()), n)].reset_index(drop=True)


@cache
def varied() -> tuple[str, ...]:
    "Numeric columns without a value on every fourth loan."
    return tuple(c for c in pool() if portfolio().columns[c].numeric and pool()[c].value_counts(normalize=True).iloc[0] < 0.25)


@cache
def spread(name: str) -> float:
    "Standard deviation with the outermost thousandths drawn in: a few giants must not decide how far a shift is."
    return float(pool()[name].clip(*pool()[name].quantile([0.001, 0.999])).std())


def settled(values: pd.Series, name: str, chance: np.random.RandomState) -> pd.Series:
    "Values inside the known range; whole numbers stay whole, rounded up or down by chance."
    known = pool()[name]
    if (known.dropna() % 1 == 0).all():
        values = np.floor(values + chance.random_sample(len(values)))
    return values.clip(known.min(), known.max())


def texts() -> list[str]:
    "Categories."
    return [c for c in pool() if portfolio().columns[c].categorical]


def related() -> list[str]:
    "Varied columns with a rank correlation of .3 or more to another."
    ranks = pool()[list(varied())].rank().corr().abs()
    return [c for c in varied() if ranks[c].drop(c).max() >= 0.3]


def unit(name: str) -> float:
    "What makes two digits of a typical amount."
    return 10.0 ** (np.floor(np.log10(pool()[name].abs().median())) - 1)


def unrounded() -> list[str]:
    "Amounts of which fewer than half have two digits only."
    return [c for c in varied() if portfolio().columns[c].type == "money" and (pool()[c].dropna() % unit(c) == 0).mean() < 0.5]


def some(v: pd.Series, share: float, chance: np.random.RandomState) -> np.ndarray:
    return chance.random_sample(len(v)) < share


def shuffled(v: pd.Series, chance: np.random.RandomState) -> pd.Series:
    known = v.notna()
    return v.mask(known, pd.Series(dict(zip(v.index[known], chance.permutation(v[known])))))


def second(v: pd.Series, share: float, chance: np.random.RandomState) -> pd.Series:
    "So many points of all loans moved from the commonest level to the next."
    first, other = v.value_counts().index[:2]
    return v.mask((v == first) & some(v, share / (v == first).mean(), chance), other)


# what is done to a column; which columns it can be done to
CHANGES = {
    "shift of .1 sd": (lambda v, c, r: settled(v + 0.1 * spread(c), c, r), varied),
    "spread + 25 %": (lambda v, c, r: settled(v.median() + 1.25 * (v - v.median()), c, r), varied),
    "5 points more missing": (lambda v, c, r: v.mask(some(v, 0.05 / v.notna().mean(), r)), varied),
    "new category, 2 %": (lambda v, c, r: v.mask(some(v, 0.02, r), "another"), texts),
    "5 points between categories": (lambda v, c, r: second(v, 0.05, r), texts),
    "1000 times on 3 % of rows": (lambda v, c, r: v.mask(some(v, 0.03, r), v * 1000), varied),
    "sentinel (-1, 999999 or 99999999) on 2 %": (lambda v, c, r: v.mask(some(v, 0.02, r), r.choice([-1.0, 999_999.0, 99_999_999.0])), varied),
    "shuffled (correlation only)": (lambda v, c, r: shuffled(v, r), related),
    "rounded to two digits": (lambda v, c, r: (v / unit(c)).round() * unit(c), unrounded),
    "stuck on 10 % of rows": (lambda v, c, r: v.mask(some(v, 0.1, r), v.dropna().iloc[0]), varied),
    "capitals": (lambda v, c, r: v.str.upper(), lambda: [c for c in texts() if pool()[c].dropna().str.upper().ne(pool()[c].dropna()).all()]),
    "largest 1 % times ten": (lambda v, c, r: v.mask(v.rank(method="first") > 0.99 * v.notna().sum(), v * 10), varied),
}  # fmt: skip
NUISANCE = "nuisance of .02 sd"


def nuisance(v: pd.Series, c: str, chance: np.random.RandomState) -> pd.Series:
    return settled(v + 0.02 * spread(c), c, chance)


def hit(now: pd.DataFrame, change, fitting, chance: np.random.RandomState) -> tuple[pd.DataFrame, list[str]]:
    "A batch with a few of its columns changed, and which."
    names = list(chance.permutation(list(fitting()))[:COLUMNS_HIT])
    return now.assign(**{c: change(now[c], c, chance) for c in names}), names


def batches(what: str, n: int, seed: int) -> tuple[pd.DataFrame, pd.DataFrame, list[str]]:
    "Then, now, and the columns that were changed."
    chance = np.random.RandomState(seed)
    then = draw(max(LEAST_THEN, n), chance)
    if what == "every row five times":
        return then, pd.concat([draw(n // 5, chance)] * 5, ignore_index=True), []
    now = draw(n, chance)
    if what == "clean":
        return then, now, []
    return then, *hit(now, *((nuisance, varied) if what == NUISANCE else CHANGES[what]), chance)


def ours(case: tuple) -> tuple[tuple, list[str], list[str], float]:
    then, now, names = batches(*case)
    start = time.process_time()
    table = Profile.fit(then, portfolio()).drift(now)
    return case, names, list(table.index[table["alert"]]), time.process_time() - start


def theirs(peer: str, cases: list[tuple]) -> list[tuple]:
    "The same of a peer, in its own environment."
    python, found = peer_python(peer, *PEERS[peer]), []
    with tempfile.TemporaryDirectory() as folder:
        hits = {}
        for i, case in enumerate(cases):
            then, now, hits[f"{i:05}"] = batches(*case)
            then.to_parquet(Path(folder) / f"{i:05}.then.parquet")
            now.to_parquet(Path(folder) / f"{i:05}.now.parquet")
        out = subprocess.run([python, Path(__file__).with_name("_drift_peers.py"), peer, folder], check=True, capture_output=True, text=True).stdout
    for line in out.splitlines():
        row = json.loads(line)
        found.append((cases[int(row["pair"])], hits[row["pair"]], row["alerts"], row["cpu"]))
    return found


def cases_of(clean_tables: dict[int, int], changed: int, nuisances: int, fives: int) -> list[tuple]:
    cases = [("clean", n, 1000 + i) for n, tables in clean_tables.items() for i in range(tables)]
    cases += [(NUISANCE, 50_000, 2000 + i) for i in range(nuisances)] + [("every row five times", 5000, 3000 + i) for i in range(fives)]
    return cases + [(what, 5000, 4000 + i) for what in CHANGES for i in range(changed)]


def summary(found: list[tuple]) -> dict[tuple, tuple[float, int]]:
    "Share and count: of tables with any alert where nothing (or a nuisance) was put, of changed columns that were found elsewhere."
    tallies = defaultdict(list)
    for (what, n, _), names, alerts, _ in found:
        tallies[what, n] += [c in alerts for c in names] if what in CHANGES else [bool(alerts)]
    return {key: (float(np.mean(v)), len(v)) for key, v in tallies.items()}


def show(results: dict[str, list[tuple]]) -> None:
    "The table of the README."
    sums, cells = {k: summary(v) for k, v in results.items()}, list(summary(results["creditrisk"]))
    source = "the real portfolio" if SEED.is_file() else "the embedded portfolio"
    print(f"Draws with replacement from {source} ({len(pool()):,} loans, {pool().shape[1]} columns), {LEAST_THEN:,} loans in the reference, {50_000:,} beside batches of that size; in brackets the tables, or changed columns, that the share is of.\n")
    print(f"| | bar | {' | '.join(results)} |\n|---|---|{'---|' * len(results)}")
    for what, n in cells:
        bar = "≥ .85" if what.startswith("largest") else "≥ .95" if what in CHANGES else "≤ .02" if what == NUISANCE else "≤ .05"
        label = f"{'found: ' if what in CHANGES else 'any alert: '}{what}, n = {n:,}"
        print(f"| {label} | {bar} | {' | '.join('{:.3f} ({})'.format(*s[what, n]) if (what, n) in s else '' for s in sums.values())} |")
    print(f"| CPU seconds a table, n = 5,000 | | {' | '.join(f'{np.mean([cpu for (_, n, _), *_, cpu in v if n == 5000]):.2f}' for v in results.values())} |")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--quick", action="store_true", help="a tenth of the tables")
    options.add_argument("--no-peers", action="store_true")
    args = options.parse_args()
    few = 10 if args.quick else 1
    cases = cases_of({500: 200 // few, 5000: 200 // few, 50_000: 200 // few}, 40 // few, 100 // few, 60 // few)
    with ProcessPoolExecutor(2) as workers:
        results = {"creditrisk": list(workers.map(ours, cases, chunksize=8))}
    if not args.no_peers:
        results["Evidently 0.7"] = theirs("evidently", cases_of({500: 20 // few, 5000: 20 // few, 50_000: 2}, 3 if few == 1 else 1, 2 if few == 1 else 1, 6 // few + 1))
        results["NannyML 0.13"] = theirs("nannyml", cases_of({500: 40 // few, 5000: 40 // few, 50_000: 6}, 6 if few == 1 else 1, 6 if few == 1 else 1, 10 // few + 1))
    show(results)


if __name__ == "__main__":
    sys.exit(main())
