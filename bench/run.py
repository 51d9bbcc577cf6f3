"""Seconds of a warm run on the embedded portfolio, beside the same notebooks run by plain papermill one after the other."""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
CHAPTERS = ("00_load", "01_eda", "02_features", "03_training", "04_monitoring", "05_deploy")


def seconds(*commands: list) -> float:
    "Wall seconds of commands, one after the other."
    start = time.perf_counter()
    for command in commands:
        subprocess.run(list(map(str, command)), check=True, cwd=ROOT, env=os.environ | {"CREDITRISK_HOME": HOME}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - start


def papermill(name: str) -> list:
    "The command that runs one chapter alone."
    return [BIN / "papermill", ROOT / "nbs" / f"{name}.ipynb", Path(HOME) / f"{name}.ipynb", "-p", "run_dir", "output/plain", "--cwd", ROOT / "nbs"]


with tempfile.TemporaryDirectory() as HOME:
    ours = seconds([BIN / "creditrisk", "run", "--run-id", "bench"])
    plain = seconds(*map(papermill, CHAPTERS))
    record = json.loads((Path(HOME) / "output" / "bench" / "run.json").read_text())["seconds"]
    print("| | wall seconds |\n|---|---|")
    print(f"| creditrisk run | {ours:.1f} |\n| six papermill commands | {plain:.1f} |\n| ratio | {ours / plain:.2f} |\n| training's share of the run | {record['03_training'] / ours:.0%} |")
