"""Runs a peer's drift detection at its defaults on pairs of files; called with the Python of the peer's own environment, prints JSON."""

import json
import sys
import time
import warnings
from pathlib import Path

warnings.filterwarnings("ignore")
import pandas as pd  # noqa: E402


def evidently(reference: pd.DataFrame, current: pd.DataFrame, texts: list[str]) -> list[str]:
    "Columns that DataDriftPreset calls drifted."
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    kinds = DataDefinition(numerical_columns=[c for c in reference if c not in texts], categorical_columns=texts)
    sides = [Dataset.from_pandas(v, data_definition=kinds) for v in (current, reference)]
    found = Report([DataDriftPreset()], include_tests=True).run(*sides).dict()
    said = "Value Drift for column "
    return [t["name"].removeprefix(said) for t in found["tests"] if t["name"].startswith(said) and t["status"] == "FAIL"]


def nannyml(reference: pd.DataFrame, current: pd.DataFrame, texts: list[str]) -> list[str]:
    "Columns with an alert in any chunk of the current batch."
    import nannyml as nml

    reference, current = (v.astype(dict.fromkeys(texts, "category")) for v in (reference, current))
    found = nml.UnivariateDriftCalculator(column_names=list(reference.columns)).fit(reference).calculate(current)
    table = found.filter(period="analysis").to_df(multilevel=True)
    return sorted({c for c, method, what in table.columns if what == "alert" and table[(c, method, what)].any()})


def main(name: str, folder: Path) -> None:
    "Every pair `NAME.then.parquet`, `NAME.now.parquet` of a folder."
    detect = {"evidently": evidently, "nannyml": nannyml}[name]
    __import__(name)
    for then in sorted(folder.glob("*.then.parquet")):
        pair = [pd.read_parquet(p) for p in (then, then.with_name(then.name.replace(".then.", ".now.")))]
        texts = [c for c in pair[0] if not pd.api.types.is_numeric_dtype(pair[0][c])]
        start = time.process_time()
        found = detect(*pair, texts)
        print(json.dumps({"pair": then.name.split(".")[0], "alerts": found, "cpu": time.process_time() - start}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
