"""CPU and memory of profiles and drift: beside Evidently and NannyML in memory, beside plain decoding from Parquet, and for two stored profiles."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
import numpy as np
import pyarrow as pa
from _peers import peer_python
from drift_quality import PEERS, SEED, pool, portfolio
from pyarrow import parquet

STEP = 500_000

OURS = """
import sys, time, json
from creditrisk.load import Portfolio
from creditrisk.profile import Profile
import pandas as pd
def peak():
    "Most memory that this process has had, MiB."
    return next(int(line.split()[1]) / 1024 for line in open("/proc/self/status") if line.startswith("VmHWM"))
p, task, path = Portfolio.load("pago_atiempo"), sys.argv[1], sys.argv[2]
if task == "compare":
    then, now = (pd.read_parquet(path + f".{side}.parquet") for side in ("then", "now"))
    start = time.process_time()
    base = Profile.fit(then, p)
    base.drift(now)
    cpu = time.process_time() - start
    stored = [base.to_json(), base.like(now).to_json()]
    start = time.process_time()
    a, b = map(Profile.from_json, stored)
    load = time.process_time() - start
    times = []
    for _ in range(7):
        start = time.process_time()
        a.drift(b)
        times.append(time.process_time() - start)
    print(json.dumps({"cpu": cpu, "load": load, "drift": sorted(times)[3], "kb": len(stored[0]) / 1000}))
elif task == "fit":
    start = time.process_time()
    Profile.fit(path, p)
    print(json.dumps({"cpu": time.process_time() - start, "rss": peak()}))
else:
    from pyarrow import parquet
    start = time.process_time()
    with parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(use_threads=False):
            pass
    print(json.dumps({"cpu": time.process_time() - start, "rss": peak()}))
"""


def loans(n: int, seed: int) -> pa.Table:
    "Loans drawn with replacement; amounts differ by up to a hundredth, so that they are as many as in life."
    chance = np.random.RandomState(seed)
    frame = pool().iloc[chance.randint(0, len(pool()), n)].reset_index(drop=True)
    money = [c for c in frame if portfolio().columns[c].type == "money"]
    frame[money] = (frame[money] * chance.uniform(0.99, 1.01, (n, len(money)))).round()
    return pa.Table.from_pandas(frame, preserve_index=False)


def write(path: Path, n: int, seed: int) -> Path:
    "A Parquet file of so many loans."
    with parquet.ParquetWriter(path, loans(1, 0).schema) as file:
        for i, start in enumerate(range(0, n, STEP)):
            file.write_table(loans(min(STEP, n - start), seed + i))
    return path


def run(*command) -> dict:
    "What a process of its own measured."
    env = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parent.parent)}
    return json.loads(subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True, env=env).stdout.splitlines()[-1])


def pair(folder: Path, rows: int) -> str:
    "Two files: seven loans in ten then, the others now."
    folder.mkdir()
    write(folder / "pair.then.parquet", rows * 7 // 10, 100)
    write(folder / "pair.now.parquet", rows - rows * 7 // 10, 900)
    return str(folder / "pair")


def beside(folder: Path, rows: int) -> tuple[list[str], dict]:
    "A row of the table: CPU seconds of all three; and what else ours measured."
    path = pair(folder, rows)
    own = run(sys.executable, "-c", OURS, "compare", path)
    peers = [run(peer_python(name, *needs), Path(__file__).with_name("_drift_peers.py"), name, folder)["cpu"] for name, needs in PEERS.items()]
    return [f"{rows:,} x 20, CPU s", f"{own['cpu']:.3f}", *(f"{cpu:.2f} ({cpu / own['cpu']:.0f} x)" for cpu in peers)], own


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rows", type=int, default=10_000_000, help="of the Parquet file")
    options.add_argument("--memory-rows", type=int, default=1_000_000, help="of the larger comparison in memory")
    args = options.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        rows = [beside(folder / str(n), n) for n in (10_000, args.memory_rows)]
        path = write(folder / "large.parquet", args.rows, 5000)
        size = path.stat().st_size / 2**20
        decoded, fitted = (run(sys.executable, "-c", OURS, task, path) for task in ("decode", "fit"))
    print(f"{'The real' if SEED.is_file() else 'The embedded'} portfolio, drawn with replacement; reference and current batch as 70 to 30.\n")
    print("| | creditrisk | Evidently 0.7 | NannyML 0.13 |\n|---|---|---|---|")
    for cells, _ in rows:
        print(f"| {' | '.join(cells)} |")
    print("\n| | |\n|---|---|")
    print(f"| Profile.fit of a Parquet file, {args.rows:,} x 20 ({size:.0f} MiB): CPU s; decoding alone; ratio | {fitted['cpu']:.1f}; {decoded['cpu']:.1f}; {fitted['cpu'] / decoded['cpu']:.2f} |")
    print(f"| its peak memory, MiB | {fitted['rss']:.0f} (decoding alone {decoded['rss']:.0f}) |")
    for (_, own), n in zip(rows, (10_000, args.memory_rows)):
        print(f"| two stored profiles of {n:,} loans compared, CPU ms | {1000 * own['drift']:.0f} (both read from JSON of {own['kb']:.0f} kB: {1000 * own['load']:.0f}) |")


if __name__ == "__main__":
    sys.exit(main())
