"""POST /predict beside other servers of the same model, in one run, as ratios: python bench/serving.py [--seconds 5] [--rounds 5] [--only floor ours].

Needs wrk (Debian: apt-get install wrk). A single application a request from 8 clients, then 10,000 a request from 2; one worker each.
The floor is a bare ASGI app on uvicorn, uvloop and httptools that reads the body, parses it with orjson and answers a constant. Every server
is measured in every round, one after the other; a ratio is that of one round, so that a machine that is slower for a while is so for both, and the
table has the medians of the rounds, with the lowest and the highest ratio."""

import argparse
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import defaultdict
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from statistics import median

from _peers import ROOT, peer_python

BENCH = Path(__file__).resolve().parent
ROWS = 10_000


@dataclass
class Server:
    "What is measured: how it is started and how it is asked."

    name: str
    command: list  # {port} stands for its port
    path: str = "/predict"
    body: str = "rows"  # which bodies it understands
    extra: dict = field(default_factory=dict)  # environment
    found: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))  # figures, a round each

    def keep(self, **figures) -> None:
        for name, value in figures.items():
            self.found[name].append(value)


def make_models(folder: Path) -> None:
    "A scorecard as training writes it, a plain pipeline of scikit-learn on the same fields, and the bodies."
    from creditrisk.load import Portfolio, clean, sample_loans, write_artifact
    from creditrisk.scorecard import scorecard_file
    from creditrisk.training import CANDIDATES

    portfolio, raw = Portfolio.load("pago_atiempo"), sample_loans()
    loans = clean(raw, portfolio)[0]
    candidate = next(c for c in CANDIDATES if c.name == "scorecard").pipeline(portfolio).fit(loans, loans["bad"])
    card = scorecard_file(candidate, loans, portfolio, name="scorecard", cutoffs={"approve": 0.04, "refuse": 0.09})
    write_artifact(folder, "scorecard.json", card)
    fields = [f for f in card["fields"] if f["type"] != "date"]
    plain_pipeline(folder, fields, loans, raw[[f["name"] for f in fields]])
    usual = json.loads(loans[[f["name"] for f in fields]].to_json(orient="records"))
    rows = [usual[i % len(usual)] for i in range(ROWS)]
    for name, some in (("1", rows[:1]), (str(ROWS), rows)):
        (folder / f"rows.{name}.json").write_text(json.dumps({"data": some}))
        (folder / f"columns.{name}.json").write_text(json.dumps({"columns": {f["name"]: [r[f["name"]] for r in some] for f in fields}}))
        inputs = [{"name": f["name"], "shape": [len(some), 1], "datatype": "BYTES" if f["type"] == "category" else "FP64", "data": [r[f["name"]] if f["type"] != "category" else str(r[f["name"]]) for r in some]} for f in fields]
        (folder / f"v2.{name}.json").write_text(json.dumps({"parameters": {"content_type": "pd"}, "inputs": inputs}).replace("null", "0"))


def plain_pipeline(folder: Path, fields: list[dict], loans, raw) -> None:
    "Median impute, scale, one-hot, logistic regression: the usual recipe."
    import joblib
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    categories = [f["name"] for f in fields if f["type"] == "category"]
    numbers = [f["name"] for f in fields if f["type"] != "category"]
    encode = ColumnTransformer([("numbers", make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), numbers), ("levels", OneHotEncoder(handle_unknown="ignore"), categories)])
    frame = loans[numbers + categories].astype(dict.fromkeys(categories, object))
    joblib.dump(make_pipeline(encode, LogisticRegression(max_iter=1000)).fit(frame, 1 - loans["bad"]), folder / "pipeline.joblib")


def uvicorn(python, app: str, *options) -> list:
    return [python, "-m", "uvicorn", app, "--host", "127.0.0.1", "--port", "{port}", "--log-level", "error", "--no-access-log", *options]


def servers(folder: Path) -> list[Server]:
    "All that can be measured here."
    python = peer_python("serving", *(f"{n}=={version(n)}" for n in ("fastapi", "uvicorn", "uvloop", "httptools", "pandas", "scikit-learn", "joblib")), "orjson>=3.10")
    options = ("--app-dir", BENCH)
    ours = [sys.executable, "-c", "from creditrisk.deploy import serve; serve()"]  # as `creditrisk serve` does
    where = {"CREDITRISK_RUN_DIR": str(folder)}
    log = {"CREDITRISK_DECISIONS_URL": f"sqlite:///{folder}/decisions.sqlite"}
    found = [
        Server("floor: bare ASGI, orjson", uvicorn(python, "_servers:floor", *options)),
        Server("ours", ours, extra=where),
        Server("ours, columns", ours, body="columns", extra=where),
        Server("ours, decision log", ours, extra=where | log),
        Server("source's API: DataFrame, pipeline", uvicorn(python, "_servers:source", "--factory", *options)),
        Server("idiomatic FastAPI: pydantic, DataFrame", uvicorn(python, "_servers:idiomatic", "--factory", *options)),
    ]
    try:
        found.append(mlserver(folder))
    except subprocess.CalledProcessError as error:
        print(f"MLServer is left out: its packages can't be installed here ({error})", file=sys.stderr)
    return found


def mlserver(folder: Path) -> Server:
    "MLServer with its own scikit-learn runtime; it reads the pipeline that its own version of the libraries fitted."
    python = peer_python("mlserver", "mlserver==1.7.1", "mlserver-sklearn==1.7.1", "pandas<3", f"scikit-learn=={version('scikit-learn')}")
    home = folder / "mlserver"
    home.mkdir(exist_ok=True)
    ports = {"http_port": free_port(), "grpc_port": free_port(), "metrics_port": free_port(), "parallel_workers": 0, "host": "127.0.0.1"}
    (home / "settings.json").write_text(json.dumps(ports | {"debug": False}))
    parameters = {"uri": str(folder / "pipeline.joblib"), "content_type": "pd"}
    (home / "model-settings.json").write_text(json.dumps({"name": "pago", "implementation": "mlserver_sklearn.SKLearnModel", "parameters": parameters}))
    return Server("MLServer", [python.with_name("mlserver"), "start", home], path="/v2/models/pago/infer", body="v2", extra={"PORT": str(ports["http_port"])})


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def family(pid: int) -> list[int]:
    "A process and all that came of it."
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(p for child in children for p in family(int(child)))]


def cpu_seconds(pid: int) -> float:
    stats = [Path(f"/proc/{p}/stat").read_text().rpartition(")")[2].split() for p in family(pid)]
    return sum(int(s[11]) + int(s[12]) for s in stats) / os.sysconf("SC_CLK_TCK")


def resident_mib(pid: int) -> float:
    return sum(int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{p}/status").read_text())[1]) for p in family(pid)) / 1024


def wrk(url: str, body: Path, clients: int, seconds: int) -> int:  # requests
    "Requests that were answered with 200 in a time."
    script = body.with_suffix(".lua")
    script.write_text(f'wrk.method = "POST"\nwrk.headers["Content-Type"] = "application/json"\nwrk.body = io.open("{body}"):read("*a")\n')
    found = subprocess.run(["wrk", "-t1", f"-c{clients}", f"-d{seconds}s", "--timeout", "60s", "-s", script, url], capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in found or "Socket errors" in found:
        raise RuntimeError(f"{url}: {found}")
    return int(re.search(r"(\d+) requests in", found)[1])


def ask(url: str, body: bytes, timeout: float = 30):
    request = urllib.request.Request(url, data=body, headers={"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=timeout) as found:
        return found.read()


def started(server: Server, folder: Path, body: bytes = b""):  # process, URL, seconds to its first score
    "A server that answers a body, by default that of a single row."
    port = server.extra.get("PORT") or str(free_port())
    environment = os.environ | {"CREDITRISK_PORT": port, "CREDITRISK_LOG_LEVEL": "error", "BENCH_FOLDER": str(folder)} | server.extra
    url, start = f"http://127.0.0.1:{port}{server.path}", time.perf_counter()
    process = subprocess.Popen([str(c).replace("{port}", port) for c in server.command], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    body = body or (folder / f"{server.body}.1.json").read_bytes()
    while time.perf_counter() - start < 120:
        try:
            ask(url, body)
            return process, url, time.perf_counter() - start
        except OSError as error:
            if process.poll() is not None or getattr(error, "code", 503) not in (404, 503):  # MLServer answers 404 until it has the model
                break
            time.sleep(0.01)
    process.kill()
    raise RuntimeError(f"{server.name} does not start, or answers no 200")


def measure(server: Server, folder: Path, seconds: int) -> None:
    "One round of one server."
    process, url, ready = started(server, folder)
    try:
        server.keep(ready=ready)
        for rows, clients in ((1, 8), (ROWS, 2)):
            body = folder / f"{server.body}.{rows}.json"
            wrk(url, body, clients, 1)
            before, start = cpu_seconds(process.pid), time.perf_counter()
            n = wrk(url, body, clients, seconds)
            server.keep(**{f"{rows} rows/s": n * rows / (time.perf_counter() - start), f"{rows} cpu": (cpu_seconds(process.pid) - before) / max(n, 1), f"{rows} rss": resident_mib(process.pid)})
    finally:
        process.terminate()
        process.wait(60)


def ratio(tops: list[float], bottoms: list[float]) -> str:
    "The median of the rounds' ratios, the lowest and the highest."
    found = [a / b for a, b in zip(tops, bottoms, strict=True)]
    return f"{median(found):.3g} ({min(found):.2g} to {max(found):.2g})"


def table(servers: list[Server]) -> str:
    "Markdown: rates, and CPU time that one request takes, as ratios to the floor's."
    top = servers[0].found
    head = ["server, 1 worker", "1 row: req/s", "x floor", "CPU µs", "floor's CPU / its", "10,000 rows: rows/s", "x floor", "CPU ms", "floor's CPU / its", "RSS MiB, single rows", "and 10,000", "start to first score, s"]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for server in servers:
        f, figures = server.found, []
        for rows, unit in ((1, 1e6), (ROWS, 1e3)):
            rate, cpu = f"{rows} rows/s", f"{rows} cpu"
            figures += [f"{median(f[rate]):,.0f}", ratio(f[rate], top[rate]), f"{median(f[cpu]) * unit:,.0f}", ratio(top[cpu], f[cpu])]
        figures += [format(median(f[name]), form) for name, form in (("1 rss", ".0f"), (f"{ROWS} rss", ".0f"), ("ready", ".1f"))]
        lines.append(f"| {' | '.join([server.name, *figures])} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=int, default=5, help="of load a figure")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="*", help="words in the names of the servers that are measured")
    parser.add_argument("--folder", type=Path, help="use the models of this folder, made when they are not there")
    options = parser.parse_args()
    if not shutil.which("wrk"):
        print("bench/serving.py is skipped: it needs wrk (apt-get install wrk)")
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        if not (folder / "pipeline.joblib").is_file():
            folder.mkdir(parents=True, exist_ok=True)
            make_models(folder)
        found = [s for s in servers(folder) if not options.only or any(word in s.name for word in options.only)]
        for _ in range(options.rounds):
            for server in found:
                measure(server, folder, options.seconds)
    print(table(found))


if __name__ == "__main__":
    main()
