"A whole run on a small sample: every artifact that other systems read, and the commands that use a run."

import csv
import hashlib
import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import joblib
import nbformat
import pandas as pd
import pytest

from creditrisk.decisions import Decision, DecisionLog
from creditrisk.deploy import Scorer
from creditrisk.load import MADE_BY, Portfolio, read_artifact, sample_loans
from creditrisk.pipeline import main
from creditrisk.run import GRAPH, notebooks_folder

ROOT = Path(__file__).parents[1]
SEVERITIES = {"VERDE", "AMARILLO", "ROJO", "SIN_DATOS"}


def call(*arguments: str) -> int:
    with pytest.raises(SystemExit) as leaving:
        main(list(arguments))
    return leaving.value.code


def header(path) -> list[str]:
    with path.open(encoding="utf-8", newline="") as file:
        return next(csv.reader(file))


def test_every_artifact_is_there_and_recorded(small_run):
    record = read_artifact(small_run, "run.json")
    assert MADE_BY.keys() <= record["artifacts"].keys()
    for name, entry in record["artifacts"].items():
        content = (small_run / name).read_bytes()
        assert entry == {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}, name
    assert record["run_id"] == "small" and record["seconds"].keys() == GRAPH.keys()
    assert {"python", "numpy", "pandas", "scikit-learn"} <= record["versions"].keys()
    assert record["metrics"]["rows"]["kept"] > 1500 and record["metrics"]["model"] and sum(record["metrics"]["drift"].values())
    assert (small_run.parent / "latest").resolve() == small_run.resolve()
    assert not [p.name for p in small_run.iterdir() if p.name.startswith(".") and p.name != ".lock"]


@pytest.mark.parametrize("name", GRAPH)
def test_every_notebook_is_there_executed_and_silent(small_run, name):
    notebook = nbformat.read(small_run / f"{name}.ipynb", as_version=4)
    assert notebook.metadata.papermill.exception is None
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert not [output.text for output in outputs if output.get("name") == "stderr"]
    assert not [output for output in outputs if output.output_type == "error"]


def test_nothing_is_lost(small_run):
    loans, rejects = read_artifact(small_run, "loans.parquet"), read_artifact(small_run, "rejects.csv")
    assert len(loans) + len(rejects) == 2000
    assert set(loans["bad"].unique()) == {0, 1} and rejects["rule"].notna().all()


def test_the_comparison_names_the_chosen_model(small_run):
    comparison = read_artifact(small_run, "model_comparison.csv")
    assert len(comparison) >= 5 and comparison["chosen"].sum() == 1
    name = comparison.loc[comparison["chosen"], comparison.columns[0]].iloc[0]
    assert name in read_artifact(small_run, "model_card.md")


def test_pipeline_and_scorecard_are_the_same_model(small_run):
    loans = read_artifact(small_run, "loans.parquet").head(200)
    pipeline = joblib.load(small_run / "best_model.joblib")
    assert pipeline.predict_proba(loans)[:, 1] == pytest.approx(Scorer.load(small_run).score(loans)["pd"].to_numpy(), abs=1e-9)


def test_monitoring_tables_have_their_columns(small_run):
    assert header(small_run / "latest_drift_metrics.csv")[:7] == ["feature", "type", "psi", "ks", "js", "cramers_v", "severity"]
    assert header(small_run / "monitoring_log.csv")[:4] == ["period", "avg_psi", "pct_red", "mode"]
    table = read_artifact(small_run, "latest_drift_metrics.csv")
    assert set(table["severity"]) <= SEVERITIES and set(Portfolio.load("pago_atiempo").monitored) <= set(table["feature"])
    assert read_artifact(small_run, "alerts.json")["verdict"] in SEVERITIES


def test_scoring_a_file(small_run, tmp_path, capsys):
    applications = sample_loans(50).drop(columns=["Pago_atiempo", "puntaje"])
    applications.to_csv(tmp_path / "in.csv", index=False)
    for name in ("out.csv", "out.parquet"):
        assert call("score", str(tmp_path / "in.csv"), str(tmp_path / name), "--run", str(small_run)) == 0
    scored = pd.read_parquet(tmp_path / "out.parquet")
    assert len(scored) == 50 and {"pd", "score", "band", "reasons"} <= set(scored) and scored["pd"].between(0, 1).all()
    assert pd.read_csv(tmp_path / "out.csv")["pd"].to_numpy() == pytest.approx(scored["pd"].to_numpy())
    assert call("score", str(tmp_path / "in.csv"), str(tmp_path / "out.txt"), "--run", str(small_run)) == 1
    assert ".csv" in capsys.readouterr().err


def test_monitoring_new_loans(small_run, tmp_path, capsys):
    run = shutil.copytree(small_run, tmp_path / "run")
    current = sample_loans(600, seed=7)
    current.assign(salario_cliente=current["salario_cliente"] * 3).to_csv(tmp_path / "new.csv", index=False)
    assert call("monitor", str(tmp_path / "new.csv"), "--run", str(run), "--fail-on-drift") == 2
    assert "salario_cliente" in capsys.readouterr().out
    assert list(run.glob("04_monitoring-*.ipynb"))
    table = read_artifact(run, "latest_drift_metrics.csv").set_index("feature")
    assert table.loc["salario_cliente", "severity"] == "ROJO"
    was, now = (json.loads((folder / "run.json").read_text())["artifacts"] for folder in (small_run, run))
    assert now["latest_drift_metrics.csv"]["sha256"] == hashlib.sha256((run / "latest_drift_metrics.csv").read_bytes()).hexdigest() != was["latest_drift_metrics.csv"]["sha256"]
    assert now["scorecard.json"] == was["scorecard.json"], "monitoring vouches for nothing that training made"


def test_monitoring_the_decisions_of_a_log(small_run, tmp_path):
    "Scored, logged, partly paid, read back; no copy of an applicant is left."
    run, url = shutil.copytree(small_run, tmp_path / "run"), f"sqlite:///{tmp_path}/log.db"
    rows = json.loads(sample_loans(400, seed=9).drop(columns=["Pago_atiempo", "puntaje"]).to_json(orient="records", date_format="iso"))
    scorer, log = Scorer.load(run), DecisionLog(url)
    pds = scorer.pds(rows)
    body = json.dumps({"data": rows}).encode()
    made = log.put(Decision("r1", body, "v", scorer.sha256, pds, [600] * 400, ["review"] * 400))
    assert made and log.close() and log.counts["written"] == 1
    assert call("monitor", "--decisions", url, "--run", str(run)) == 0
    table = read_artifact(run, "latest_drift_metrics.csv")
    assert table["n_current"].max() == 400
    assert not [p for p in run.rglob("*") if p.suffix == ".parquet" and p.name not in ("loans.parquet", "scores.parquet")]


def test_a_run_is_promoted_and_taken_back(small_run, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CREDITRISK_HOME", str(tmp_path))
    assert call("promote", str(small_run)) == 1 and call("promote", "--reason", "none named") == 1
    assert call("promote", str(small_run), "--by", "ana", "--reason", "first") == 0
    assert (tmp_path / "output" / "production").resolve() == small_run.resolve()
    sample_loans(20).to_csv(tmp_path / "in.csv", index=False)
    assert call("score", str(tmp_path / "in.csv"), str(tmp_path / "out.csv")) == 0
    assert f"{Scorer.load(small_run).name['version']} of output/production" in capsys.readouterr().out
    assert call("promote", "--back", "--by", "ana", "--reason", "a try") == 0
    with (tmp_path / "output" / "promotions.csv").open() as file:
        assert [(row["by"], row["reason"]) for row in csv.DictReader(file)] == [("ana", "first"), ("ana", "revert: a try")]
    assert not (tmp_path / "output" / "production").exists() and "In use: none" in capsys.readouterr().out


def test_the_report_is_one_file(small_run, tmp_path):
    assert call("report", str(tmp_path / "report.html"), "--run", str(small_run)) == 0
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    summary = read_artifact(small_run, "alerts.json")["summary"]["es"]
    assert text.startswith("<!doctype html>") and json.dumps(summary)[1:-1] in text and "<script src" not in text and "<link rel=\"stylesheet" not in text


def test_plain_papermill_runs_a_single_notebook(small_run, tmp_path):
    command = [sys.executable, "-m", "papermill", notebooks_folder() / "01_eda.ipynb", tmp_path / "out.ipynb", "-p", "run_dir", small_run, "--no-progress-bar"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads((tmp_path / "out.ipynb").read_text())["metadata"]["papermill"]["exception"] is None


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def fetch(url: str, seconds: float = 60) -> bytes:
    "The answer of a server that may still be starting."
    deadline = time.monotonic() + seconds
    while True:
        try:
            return urllib.request.urlopen(url, timeout=20).read()
        except (urllib.error.URLError, ConnectionError):
            assert time.monotonic() < deadline, f"{url} does not answer"
            time.sleep(0.1)


@pytest.mark.parametrize("command, page, words", [("serve", "/ready", b'"ready":true'), ("dashboard", "/", b"ROJO")])
def test_the_servers_answer_and_stop(small_run, command, page, words):
    port = free_port()
    arguments = [sys.executable, "-c", "from creditrisk.pipeline import main; main()", command, "--run", str(small_run), "--port", str(port)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as server:
        try:
            assert words in fetch(f"http://127.0.0.1:{port}{page}")
            busy = subprocess.run([*arguments], capture_output=True, text=True, timeout=60)
            assert busy.returncode == 1 and "choose another with --port" in busy.stderr and "Traceback" not in busy.stderr
        finally:
            server.terminate()
        server.wait(30)


def test_another_portfolio_runs_through_the_same_notebooks(tmp_path):
    "Other columns, the target the other way round, no date."
    from creditrisk.run import run_pipeline

    data = ROOT.parent / "shared" / "data" / "uci_credit_card.csv"
    if not data.is_file():
        pytest.skip(f"the second portfolio is not at {data}")
    dictionary = ROOT / "tests" / "portfolios" / "uci_credit_card.toml"
    run = run_pipeline(data=str(data), portfolio=str(dictionary), parameters=["rows=1500", "folds=2", "repeats=1"], output=tmp_path)
    record = read_artifact(run, "run.json")
    assert record["data"]["sha256"] == hashlib.sha256(data.read_bytes()).hexdigest()
    assert set(Portfolio.load(dictionary).monitored) <= set(read_artifact(run, "latest_drift_metrics.csv")["feature"])
