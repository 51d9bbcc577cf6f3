"""Contracts of operating the API: keys, limits, bodies, columns, metrics, reload, challenger, decision log, stopping, and a fuzz of a few hundred bodies."""

import asyncio
import json
import math
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import tracemalloc
import urllib.error
import urllib.request
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest import mock

import pytest
from test_deploy import CARD, EXAMPLE, TERMS, golden_card, one

from creditrisk.compiled import Doubt, compile_rows
from creditrisk.decisions import DecisionError
from creditrisk.deploy import Scorer, create_app
from creditrisk.intake import Intake, fault
from creditrisk.load import sample_loans
from creditrisk.metrics import Metrics
from creditrisk.service import Watched
from creditrisk.settings import Settings, SettingsError, caller_of, new_key, read_settings
from creditrisk.terms import SET_ASIDE, Additive, Field, ScorerError

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # starlette announces a successor of httpx
    testclient = pytest.importorskip("starlette.testclient")
sys.path.insert(0, str(Path(__file__).parents[1] / "bench"))
KEY, ENTRY = new_key("core")
BODY = {"data": [EXAMPLE]}


@pytest.fixture(autouse=True)
def no_settings(monkeypatch):
    "Settings come from the tests alone."
    for name in [n for n in os.environ if n.startswith("CREDITRISK_") and n not in ("CREDITRISK_HOME", "CREDITRISK_SEED")]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="module")
def card() -> dict:
    return golden_card(sample_loans(100))


def written(folder: Path, card: dict) -> Path:
    "A run's folder with a scorecard."
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "scorecard.json.new").write_text(json.dumps(card), encoding="utf-8")
    os.replace(folder / "scorecard.json.new", folder / "scorecard.json")
    return folder


def shifted(card: dict, by: float) -> dict:
    "The same model with another intercept, and golden rows that agree."
    other = card | {"intercept": card["intercept"] + by}
    return other | {"golden": [g | {"pd": pd} for g, pd in zip(card["golden"], Scorer(other).pds([g["row"] for g in card["golden"]]), strict=True)]}


@pytest.fixture(scope="module")
def run(tmp_path_factory, card) -> Path:
    return written(tmp_path_factory.mktemp("served"), card)


def client(run: Path, **settings):
    return testclient.TestClient(create_app(run, settings=Settings(**settings)), raise_server_exceptions=False)


# --- columns -------------------------------------------------------------------------------------------------------------------------


def columns(rows: list[dict]) -> dict:
    return {"columns": {f["name"]: [r.get(f["name"]) for r in rows] for f in CARD["fields"]}}


def test_columns_say_what_rows_say(run):
    rows = [EXAMPLE, EXAMPLE | {"edad_cliente": 121}, EXAMPLE | {"plazo_meses": None, "tipo_credito": "4"}]
    with client(run) as asked:
        by_row, by_column = (asked.post("/predict?explain=3", json=body).json() for body in ({"data": rows}, columns(rows)))
        few = asked.post("/predict", json={"columns": {"edad_cliente": [40, 50]}}).json()
    assert by_row | {"request_id": ""} == by_column | {"request_id": ""}
    assert few["pd"] == Scorer.load(run).pds([{"edad_cliente": 40}, {"edad_cliente": 50}])


WRONG_COLUMNS = {
    "empty": ('{"columns": {}}', "an empty object"),
    "a list": ('{"columns": [1]}', "columns is a list"),
    "no list": ('{"columns": {"edad_cliente": 40}}', "edad_cliente: is a number; expected a list"),
    "empty lists": ('{"columns": {"edad_cliente": []}}', "of empty lists"),
    "lengths": ('{"columns": {"edad_cliente": [40, 41], "plazo_meses": [12]}}', "from 1 to 2 entries"),
    "unknown": ('{"columns": {"edad_cliente": [40], "plazo": [12]}}', "did you mean 'plazo_meses'"),
    "outcome": ('{"columns": {"edad_cliente": [40], "puntaje": [1]}}', "known only after"),
    "twice": ('{"columns": {"edad_cliente": [40], "edad_cliente": [41]}}', "edad_cliente: is given more than once"),
    "both": ('{"columns": {"edad_cliente": [40]}, "data": [{"edad_cliente": 40}]}', "keys beside it"),
    "a value": ('{"columns": {"edad_cliente": [40, 17], "plazo_meses": ["x", 12]}}', "row 1, edad_cliente: is out of range"),
    "nothing said": ('{"columns": {"edad_cliente": [40, null]}}', "row 1: says nothing"),
    "too many": (json.dumps({"columns": {"edad_cliente": [40] * 10_001}}), "10,001 rows"),
    "null": ('{"columns": null}', "columns is null"),
}


@pytest.mark.parametrize("body, words", WRONG_COLUMNS.values(), ids=WRONG_COLUMNS)
def test_wrong_columns_are_refused_in_words(run, body, words):
    found = client(run).post("/predict", content=body)
    assert found.status_code == 422 and words in " ".join([found.json()["detail"], *(e["message"] for e in found.json()["errors"])])


# --- compiled ------------------------------------------------------------------------------------------------------------------------


def test_a_field_of_two_terms_and_of_a_derived_column_adds_up_as_by_column():
    terms = [
        {"column": "age", "kind": "bins", "edges": [30], "values": [0.1, -0.2], "missing": 0.3, "special": 0.4},
        {"column": "ratio", "kind": "bins", "edges": list(range(40)), "values": [0.01 * i for i in range(41)], "missing": 0.7},
        {"column": "town", "kind": "levels", "values": {"A": 0.1}, "unseen": 0.9, "missing": 0.2},
        {"column": "age", "kind": "linear", "slope": 0.01, "center": 3.0, "missing": 0.0},
        {"column": "pay", "kind": "linear", "slope": -1e-3, "center": 7.5, "missing": 0.2, "special": 0.6},
    ]
    card = {"intercept": -1.0, "terms": terms, "derived": [{"name": "ratio", "expression": "pay / age"}]}
    fields = [Field("town", "category", outside="missing", levels=["A", "B"]), Field("age", "count", codes={"99": "unknown"}), Field("pay", "money", min=0, max=900, outside="missing"), Field("other", "money")]
    model = Additive(card, {f.name: f for f in fields})
    weigh = compile_rows(card, model, fields, checked=set(), wrong=lambda f, v: None)
    rows = [(town, age, pay, other) for town in ("A", "B", "C", None, 5) for age in (0.0, 29.5, 30.0, 99.0, None) for pay in (0.0, 900.0, 901.0, -0.0, None) for other in (1.0, None)]
    cells = {f.name: f.read_all(column) for f, column in zip(fields, zip(*rows, strict=True), strict=True)}
    log_odds, absents, asides = weigh(rows)
    assert log_odds == model.weigh({k: v for k, v in cells.items() if k != "other"}, len(rows))[0]
    names = model.inputs
    assert absents == [[n for n in names if cells[n][i] is None] for i in range(len(rows))]
    assert asides == [[n for n in names if cells[n][i].__class__.__name__ == "Mark"] for i in range(len(rows))]


@pytest.mark.parametrize("outside", ["reject", "missing", "warn"])
@pytest.mark.parametrize("codes", [[], ["7"], ["-1", "8"], ["0", "50", "50.00000000000001"]])
@pytest.mark.parametrize("low, high", [(None, None), (0, None), (None, 50), (0, 50), (7, 7)])
def test_bins_of_every_number_add_up_as_by_column(low, high, codes, outside):
    edges = [-3.0, 0.0, 7.0, 10.0, 50.0, 60.0]
    term = {"column": "debt", "kind": "bins", "edges": edges, "values": [0.125 * i for i in range(7)], "missing": 2.0, "special": 3.0}
    card, field = {"intercept": 0.0, "terms": [term], "derived": []}, Field("debt", "money", min=low, max=high, outside=outside, codes=dict.fromkeys(codes, "said otherwise"))
    marks = [-1e300, -1.0, *edges, 8.0, 50.00000000000001, 1e300]
    values = [x for mark in marks for x in (math.nextafter(mark, -math.inf), mark, math.nextafter(mark, math.inf))]
    given = [None, *(x for x in values if outside != "reject" or codes or (low is None or x >= low) and (high is None or x <= high))]  # msgspec has refused the others
    refused = [x for x in given if fault(field, x)]
    model, cells = Additive(card, {"debt": field}), {"debt": field.read_all(given)}
    weigh = compile_rows(card, model, [field], checked=set(), wrong=lambda f, v: None)
    log_odds, absents, asides = weigh([(x,) for x in given])
    assert log_odds == model.weigh(cells, len(given))[0]
    assert absents == [["debt"] * (cell is None) for cell in cells["debt"]] and asides == [["debt"] * (cell is SET_ASIDE) for cell in cells["debt"]]
    careful = compile_rows(card, model, [field], checked=set(), wrong=fault)
    for x in refused:
        with pytest.raises(Doubt):
            careful([(x,)])


def test_names_of_a_card_are_never_code():
    name = "x'];__import__('os')#"
    age = next(f for f in CARD["fields"] if f["name"] == "edad_cliente")
    card = CARD | {"fields": [age | {"name": name}], "derived": [], "terms": [TERMS[1] | {"column": name}]}
    assert Intake(Scorer(card)).read(json.dumps({"data": [{name: 40}]}).encode())[1][0] == [CARD["intercept"] + TERMS[1]["values"][1]]


# --- settings and keys ---------------------------------------------------------------------------------------------------------------


def test_settings_come_from_the_environment(monkeypatch):
    for name, value in {"PORT": "9001", "API_KEYS": f"{ENTRY}, old={'0' * 64}", "ON_FULL": "refuse", "KEEP_DAYS": "", "ALERT_WEBHOOK": "x"}.items():
        monkeypatch.setenv(f"CREDITRISK_{name}", value)
    found = read_settings()
    assert (found.port, found.on_full, found.keep_days, [*found.api_keys.values()]) == (9001, "refuse", None, ["core", "old"])
    assert caller_of(found.api_keys, KEY.encode()) == "core" and KEY not in repr(found)


@pytest.mark.parametrize("name, value, words", [("API_KEY", "secret-1", "did you mean CREDITRISK_API_KEYS"), ("API_KEYS", "core=secret-1", "expected name=SHA-256"), ("PORT", "secret-1", "CREDITRISK_PORT"), ("RATE_LIMIT", "secret-1", "100/second"), ("KEEP_DAYS", "999999", "36500"), ("KEEP_DAYS", "inf", "36500")])
def test_wrong_settings_are_refused_without_their_values(monkeypatch, name, value, words):
    monkeypatch.setenv(f"CREDITRISK_{name}", value)
    with pytest.raises(SettingsError, match=re.escape(words)) as error:
        read_settings()
    assert "secret-1" not in str(error.value)


def test_secrets_are_not_shown():
    shown = repr(Settings(decisions_url="postgresql://u:hunter2@h/d", applicant_secret="hunter3"))
    assert "hunter" not in shown


def test_keys_and_limits(run, caplog):
    caplog.set_level("INFO", "creditrisk")
    with client(run, api_keys=ENTRY, rate_limit="100/second;3/hour", access_log=True) as asked:
        good = {"X-API-Key": KEY}
        refused = [asked.post("/predict", json=BODY, headers=h) for h in ({}, {"X-API-Key": KEY[:-1]}, {"X-API-Key": ""}, {"Authorization": "Basic eDp5"})]
        assert [r.status_code for r in refused] == [401] * 4 and refused[0].headers["www-authenticate"] == "Bearer" and refused[0].json()["request_id"]
        assert [asked.get(p).status_code for p in ("/health", "/ready", "/docs", "/openapi.json")] == [200] * 4 and [asked.get(p).status_code for p in ("/model", "/metrics")] == [401] * 2
        answers = [asked.post("/predict", json=BODY, headers=h) for h in (good, {"Authorization": f"bEARER  {KEY}"}, good, good)]
        assert [a.status_code for a in answers] == [200, 200, 200, 429] and "3 per 1 hour" in answers[3].json()["detail"] and 1 <= int(answers[3].headers["retry-after"]) <= 3600
        assert asked.get("/openapi.json").json()["components"]["securitySchemes"]
    assert [r.caller for r in caplog.records if getattr(r, "status", 0) == 429] == ["core"]


def test_the_documentation_needs_no_other_server(run):
    with client(run, api_keys=ENTRY) as asked:
        page = asked.get("/docs").text
        needed = re.findall(r"""(?:src|href)=["']([^"']+)""", page)
        assert len(needed) >= 3 and "://" not in page
        for path in needed:
            found = asked.get(path)
            assert found.status_code == 200 and found.headers["x-content-type-options"] == "nosniff", path


def test_without_keys_only_loopback_is_answered(run):
    app = create_app(run)
    statuses = {}
    for host in ("127.0.0.1", "::1", "testserver", "10.0.0.7", "0.0.0.0"):
        with testclient.TestClient(app, base_url=f"http://[{host}]" if ":" in host else f"http://{host}") as asked:
            statuses[host] = asked.post("/predict", json=BODY).status_code, asked.get("/model").status_code, asked.get("/health").status_code
    assert statuses == {h: (200, 200, 200) for h in ("127.0.0.1", "::1", "testserver")} | {h: (403, 403, 200) for h in ("10.0.0.7", "0.0.0.0")}


# --- bodies --------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("headers, status", [({"content-type": "text/csv"}, 415), ({"content-type": "application/json; charset=latin-1"}, 415), ({"content-encoding": "gzip"}, 415), ({"content-type": "application/json;charset=utf-8"}, 200), ({"content-encoding": "identity"}, 200)])
def test_other_types_are_refused(run, headers, status):
    assert client(run).post("/predict", content=one(), headers=headers).status_code == status


@pytest.mark.parametrize("given, kept", [("branch-12.7_a", True), ("a b", False), ("x" * 65, False), ("é", False), ("a\"b", False)])
def test_a_request_id_comes_back_if_it_is_sane(run, given, kept):
    asked = client(run)
    for found in (asked.post("/predict", json=BODY, headers={"X-Request-ID": given.encode()}), asked.get("/nowhere", headers={"X-Request-ID": given.encode()})):
        assert (found.headers["x-request-id"] == given) == kept and re.fullmatch(r"[A-Za-z0-9._-]{1,64}", found.headers["x-request-id"])


def test_every_answer_has_the_headers_that_are_sensible(run):
    asked = client(run)
    for found in (asked.post("/predict", json=BODY), asked.get("/docs"), asked.get("/nowhere"), asked.post("/predict", content=b"{")):
        assert found.headers["x-content-type-options"] == "nosniff" and found.headers["cache-control"] == "no-store" and found.headers["x-request-id"]


CROWDED = {
    "objects": b'{"data": [' + b"{}," * 1_000_000 + b"{}]}",
    "numbers": b'{"columns": {"plazo_meses": [' + b"1," * 1_500_000 + b"1]}}",
    "lists": b'{"data": [' + b"[]," * 1_000_000 + b"[]]}",
}


@pytest.mark.parametrize("body", CROWDED.values(), ids=CROWDED)
def test_a_body_of_far_too_many_values_is_refused_before_they_are_made(run, body):
    asked = client(run)
    assert asked.get("/ready").status_code == 200
    tracemalloc.start()
    found = asked.post("/predict", content=body)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.status_code == 422 and "10,000 rows" in found.json()["detail"] and peak < 20_000_000 + 4 * len(body)


def test_commas_in_texts_are_not_taken_for_values(run):
    found = client(run).post("/predict", json={"data": [{"edad_cliente": 40, "tipo_laboral": 'a "b"' + "," * 190}] * 10_000})
    assert found.status_code == 200, found.text[:300]
    assert len(found.json()["pd"]) == 10_000


def test_a_large_body_of_faults_is_refused_in_bounded_time_and_words(run):
    rows = [{f"k{i}_{j}": [] for j in range(15)} for i in range(10_000)]
    keys = {f"k{i}": [] for i in range(200_000)}
    for body in ({"data": rows}, {"data": [keys]}, {"columns": keys}):
        found = client(run).post("/predict", json=body)
        assert found.status_code == 422 and len(found.json()["errors"]) == 100 and len(found.content) < 50_000


# --- metrics -------------------------------------------------------------------------------------------------------------------------


def samples(asked) -> dict:
    "What GET /metrics says: (name, labels...) -> value."
    from prometheus_client.parser import text_string_to_metric_families

    return {(s.name, *sorted(s.labels.values())): s.value for f in text_string_to_metric_families(asked.get("/metrics").text) for s in f.samples}


def test_metrics_count_what_happens(run):
    with client(run) as asked:
        answers = [asked.post("/predict", json={"data": [EXAMPLE] * 60}).json(), asked.post("/predict", json=BODY).json()]
        asked.post("/predict", content=one(edad_cliente=17, plazo_meses="x"))
        asked.post("/predict", content=b"{")
        asked.get("/nowhere")
        found = samples(asked)
    assert (found["creditrisk_requests_total", "/predict", "200"], found["creditrisk_requests_total", "/predict", "422"], found["creditrisk_requests_total", "404", "other"]) == (2, 1, 1)
    assert [found["creditrisk_refusals_total", code] for code in ("range", "type", "400")] == [1, 1, 1]
    assert found["creditrisk_applicants_total", answers[0]["band"][0]] == 61 and found["creditrisk_score_points_count", "champion"] == 61
    assert found["creditrisk_score_points_sum", "champion"] == 61 * answers[1]["score"][0] and found["creditrisk_request_seconds_count", "/predict"] == 4
    assert found["creditrisk_ready",] == 1 and found["process_resident_memory_bytes",] > 0


# --- reload and challenger -----------------------------------------------------------------------------------------------------------


def test_a_promoted_run_is_served_and_a_bad_one_is_not(card, tmp_path):
    first, second, bad = (written(tmp_path / name, c) for name, c in (("a", card), ("b", shifted(card, 0.5)), ("c", card | {"intercept": 0.0})))
    link = tmp_path / "production"
    link.symlink_to(first.name)

    def promote(name: str):
        (tmp_path / "new").symlink_to(name)
        os.replace(tmp_path / "new", link)

    with client(link, reload_seconds=0.05) as asked:

        def until(condition) -> dict:
            for _ in range(400):
                found = asked.get("/ready").json()
                if condition(found):
                    return asked.post("/predict", json=BODY).json()
                time.sleep(0.02)
            raise AssertionError(found)

        assert asked.post("/predict", json=BODY).json()["pd"] == Scorer.load(first).pds([EXAMPLE])
        promote("b")
        new = until(lambda r: r["model"]["sha256"] == Scorer.load(second).sha256)
        assert new["pd"] == Scorer.load(second).pds([EXAMPLE]) and new["model"]["sha256"] == Scorer.load(second).sha256
        promote("c")
        kept = until(lambda r: "golden rows" in r.get("detail", ""))
        assert kept["pd"] == new["pd"] and asked.get("/ready").status_code == 200
        found = samples(asked)
        assert found["creditrisk_champion_stale",] == 1 and found["creditrisk_events_total", "champion refused"] == 1
        promote("a")
        assert until(lambda r: "detail" not in r)["pd"] == Scorer.load(first).pds([EXAMPLE])


def test_the_promoted_run_comes_before_the_latest(card, tmp_path, monkeypatch):
    monkeypatch.setenv("CREDITRISK_HOME", str(tmp_path))
    latest = Scorer.load(written(tmp_path / "output/latest", card)).sha256
    with testclient.TestClient(create_app(reload_seconds=0.05)) as asked:
        assert asked.get("/model").json()["sha256"] == latest
        promoted = Scorer.load(written(tmp_path / "output/production", shifted(card, 0.1))).sha256
        for _ in range(400):
            if asked.get("/model").json()["sha256"] == promoted:
                return
            time.sleep(0.02)
    raise AssertionError("the promoted run is not served")


def test_a_model_that_requests_would_score_otherwise_is_not_served(run, monkeypatch):
    watched = Watched(lambda: run, metrics=Metrics())
    monkeypatch.setattr("creditrisk.intake.compile_rows", lambda *a, **k: lambda rows: ([0.1 for _ in rows], [[]], [[]], 0))  # of one row
    watched.look()
    assert watched.intake is None and "from a request" in watched.reason


def test_a_challenger_never_touches_the_answer(card, run, tmp_path, monkeypatch):
    shadow = written(tmp_path / "shadow", shifted(card, 1.0))
    plain = client(run).post("/predict", json=BODY).json()
    with client(run, shadow=str(shadow)) as asked:
        assert asked.post("/predict", json=BODY).json() | {"request_id": ""} == plain | {"request_id": ""}
        for _ in range(200):
            if samples(asked).get(("creditrisk_score_points_count", "challenger")):
                break
            time.sleep(0.02)
        assert samples(asked)["creditrisk_score_points_count", "challenger"] == 1
        with monkeypatch.context() as broken:
            broken.setattr(Scorer, "log_odds", lambda *a: 1 / 0)
            assert asked.post("/predict", json=BODY).json() | {"request_id": ""} == plain | {"request_id": ""}
            for _ in range(200):
                if samples(asked).get(("creditrisk_events_total", "challenger failed")):
                    break
                time.sleep(0.02)
        assert samples(asked)["creditrisk_events_total", "challenger failed"] == 1
    with client(run, shadow=str(tmp_path / "nowhere")) as asked:
        assert asked.post("/predict", json=BODY).status_code == 200 and "nbs/03_training.ipynb" in asked.get("/ready").json()["shadow"]


# --- decision log --------------------------------------------------------------------------------------------------------------------


def stored(url: str) -> list[dict]:
    from creditrisk.decisions import stream_decisions

    return [*stream_decisions(url)]


def test_every_scored_request_is_in_the_log(card, run, tmp_path):
    url, shadow = f"sqlite:///{tmp_path}/decisions.sqlite", written(tmp_path / "shadow", shifted(card, 1.0))
    rows = [EXAMPLE | {"applicant": "A-1"}, EXAMPLE | {"edad_cliente": 60, "applicant": " "}, EXAMPLE | {"applicant": 7.0}]
    with client(run, decisions_url=url, applicant_secret="s", shadow=str(shadow)) as asked:
        answers = [asked.post("/predict", json=body, headers={"X-Request-ID": name}).json() for name, body in (("r-1", {"data": rows}), ("r-2", columns([EXAMPLE])))]
        assert asked.post("/predict", content=b"{").status_code == 400 and asked.post("/predict", json=BODY, headers={"X-Request-ID": "r-1"}).status_code == 409
        found = stored(url)
        assert [d["pd"] for d in found] == [pd for a in answers for pd in a["pd"]] and [d["request_id"] for d in found] == ["r-1"] * 3 + ["r-2"]
        assert [d["shadow_pd"] for d in found] == Scorer.load(shadow).pds([*rows, EXAMPLE]) and "A-1" not in json.dumps(found, default=str)
        outcomes = {"outcomes": [{"request_id": "r-1", "row": 0, "paid": 1}, {"request_id": "r-1", "row": 9, "paid": 0, "observed_at": "2026-01-31T00:00:00Z"}]}
        assert [asked.post("/outcomes", json=outcomes).json()["results"] for _ in range(2)] == [["recorded", "unknown"], ["same", "unknown"]]
        assert [d["paid"] for d in stored(url)] == [1, None, None, None]
        assert [asked.post("/forget", json={"applicant": key}).json()["erased"] for key in ("A-1", "A-1", "", 7)] == [1, 0, 0, 1] and len(stored(url)) == 2
        assert samples(asked)["creditrisk_decision_log_written_total",] == 2


def test_a_request_that_comes_again_is_stored_once_whatever_the_challenger_says(card, run, tmp_path, caplog):
    url, shadow = f"sqlite:///{tmp_path}/decisions.sqlite", written(tmp_path / "shadow", shifted(card, 1.0))
    for challenger in (str(shadow), ""):
        with client(run, decisions_url=url, shadow=challenger) as asked:
            assert asked.post("/predict", json=BODY, headers={"X-Request-ID": "r-1"}).status_code == 200
    with client(run, decisions_url=url) as asked:
        assert asked.post("/predict", json={"data": [EXAMPLE | {"edad_cliente": 61}]}, headers={"X-Request-ID": "r-1"}).status_code == 409
        assert samples(asked)["creditrisk_decision_log_dropped_total",] == 0 and "can't be logged" not in caplog.text
    assert len(stored(url)) == 1


@pytest.mark.parametrize("key", [1234567890123456789, 7.5, True, [7], "x" * 201])
def test_a_key_that_could_be_taken_for_another_is_refused(run, tmp_path, key):
    with client(run, decisions_url=f"sqlite:///{tmp_path}/d.sqlite", applicant_secret="s") as asked:
        answers = [asked.post("/predict", json={"data": [EXAMPLE | {"applicant": key}]}), asked.post("/forget", json={"applicant": key})]
    assert [a.status_code for a in answers] == [422, 422] and not any(str(key)[:7] in a.text for a in answers)


def test_what_is_said_twice_is_neither_erased_nor_recorded(run, tmp_path):
    with client(run, decisions_url=f"sqlite:///{tmp_path}/d.sqlite", applicant_secret="s") as asked:
        outcome = b'{"request_id": "r", "row": 0, "paid": 1, "paid": 0}'
        bodies = {"/forget": [b'{"applicant": "CC-2", "applicant": "CC-9"}', b'{"applicant": "CC-2", "who": 1}', b'{"applicant": null}'], "/outcomes": [b'{"outcomes": [%b]}' % outcome, b'{"outcomes": [], "outcomes": [{}]}']}
        assert {asked.post(path, content=body).status_code for path, some in bodies.items() for body in some} == {422}


def test_every_fault_of_outcomes_is_named(run):
    later = (datetime.now(UTC) + timedelta(days=2)).isoformat()
    entries = [{"request_id": "", "row": -1, "paid": True}, {"request_id": "r", "row": 0.5, "paid": 2, "observed_at": later, "pd": 1}, {}, 7, {"request_id": "r", "row": 0.0, "paid": 1.0, "observed_at": None}]
    found = client(run).post("/outcomes", json={"outcomes": entries})
    faults = sorted((e["row"], e["field"] or "", e["code"]) for e in found.json()["errors"])
    wrong = {0: ("request_id", "row", "paid"), 1: ("row", "paid", "observed_at")}
    expected = [(i, name, "value") for i, names in wrong.items() for name in names] + [(1, "pd", "unknown"), *((2, name, "missing") for name in ("request_id", "row", "paid")), (3, "", "type")]
    assert found.status_code == 422 and faults == sorted(expected) and later[:10] not in found.text


def test_an_outcome_is_kept_in_utc(run, tmp_path):
    with client(run, decisions_url=f"sqlite:///{tmp_path}/d.sqlite") as asked:
        asked.post("/predict", json=BODY, headers={"X-Request-ID": "r-1"})
        asked.post("/outcomes", json={"outcomes": [{"request_id": "r-1", "row": 0, "paid": 1, "observed_at": "2026-01-01T00:00:00-05:00"}]})
    with closing(sqlite3.connect(tmp_path / "d.sqlite")) as book:
        assert book.execute("select observed_at from decision_outcomes").fetchone()[0].startswith("2026-01-01 05:00:00")


def test_without_a_log_or_a_secret_that_is_said(run, tmp_path):
    with client(run) as asked:
        assert asked.post("/outcomes", json={"outcomes": [{"request_id": "r", "row": 0, "paid": 1}]}).status_code == asked.post("/forget", json={"applicant": "A"}).status_code == 404
        assert asked.post("/predict", content=one(applicant="A-1")).status_code == 422
    with client(run, decisions_url=f"sqlite:///{tmp_path}/d.sqlite") as asked:
        assert asked.post("/forget", json={"applicant": "A"}).status_code == 409


@pytest.mark.parametrize("body, status", [(b"{", 400), (b"\xff", 400), (b"[" * 100_000, 400), (b"[]", 422), (b"{}", 422), (b'{"outcomes": []}', 422), (b'{"outcomes": [{"request_id": "r", "row": -1, "paid": 1}]}', 422), (b'{"outcomes": [{"request_id": "r", "row": 0, "paid": 2}]}', 422), (b'{"outcomes": [{"request_id": "r", "row": 0, "paid": "Zoila"}]}', 422)])
def test_wrong_outcomes_are_refused(run, body, status):
    found = client(run).post("/outcomes", content=body)
    assert found.status_code == status and "Zoila" not in found.text


@pytest.mark.parametrize("on_full, status", [("drop", 200), ("refuse", 503)])
def test_a_log_that_is_away(run, tmp_path, on_full, status, monkeypatch):
    (tmp_path / "folder").mkdir()  # a folder is no database
    monkeypatch.setattr("creditrisk.decisions.PATIENCE", 0.2)
    with client(run, decisions_url=f"sqlite:///{tmp_path}/folder", on_full=on_full) as asked:
        assert asked.post("/predict", json=BODY).status_code == status
        ready = asked.get("/ready")
        assert ready.status_code == (503 if on_full == "refuse" else 200) and ready.json()["decision_log"]


# --- the process ---------------------------------------------------------------------------------------------------------------------


@contextmanager
def served(run: Path, **settings):
    "A real server as `creditrisk serve` starts it: its process and port."
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = os.environ | {f"CREDITRISK_{k.upper()}": str(v) for k, v in ({"run_dir": run, "port": port} | settings).items()}
    process = subprocess.Popen([sys.executable, "-c", "from creditrisk.deploy import serve; serve()"], env=environment, stderr=subprocess.PIPE, text=True)
    try:
        for _ in range(300):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=5).close()
                break
            except (urllib.error.URLError, ConnectionError):
                assert process.poll() is None, process.stderr.read()
                time.sleep(0.05)
        yield process, port
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=20)


def head(length: int, *more: str) -> bytes:
    return "\r\n".join(["POST /predict HTTP/1.1", "Host: x", "Content-Type: application/json", f"Content-Length: {length}", *more, "", ""]).encode()


def received(connection: socket.socket) -> bytes:
    "All that comes until the server closes."
    parts = []
    while part := connection.recv(65_536):
        parts.append(part)
    return b"".join(parts)


def test_what_is_in_flight_is_answered_and_written_when_the_server_is_told_to_stop(run, tmp_path):
    url, body = f"sqlite:///{tmp_path}/d.sqlite", json.dumps(BODY).encode()
    with served(run, decisions_url=url) as (process, port), closing(socket.create_connection(("127.0.0.1", port), timeout=20)) as slow:
        slow.sendall(head(len(body)) + body[:50])
        time.sleep(0.3)
        process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        assert process.poll() is None
        slow.sendall(body[50:])
        answer = received(slow)
        errors = process.communicate(timeout=20)[1]
    assert b" 200 OK" in answer and [d["pd"] for d in stored(url)] == json.loads(answer.partition(b"\r\n\r\n")[2])["pd"]
    assert "Traceback" not in errors and all("message" in json.loads(line) for line in errors.splitlines())


def test_a_hangup_signal_looks_for_another_model(card, tmp_path):
    run, other = written(tmp_path / "a", card), shifted(card, 0.5)
    with served(run, reload_seconds=0) as (process, port):
        written(run, other)
        process.send_signal(signal.SIGHUP)
        sha256 = Scorer.load(run).sha256
        for _ in range(200):
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/model", timeout=20) as found:
                if json.load(found)["sha256"] == sha256:
                    return
            time.sleep(0.05)
    raise AssertionError("the other model is not served")


def test_a_slow_body_is_bounded_and_logs_have_no_personal_data(run):
    with served(run, body_seconds=0.4, access_log="true") as (process, port):
        with closing(socket.create_connection(("127.0.0.1", port), timeout=20)) as slow:
            slow.sendall(head(100) + b'{"data": [{"edad_cliente": 7946125')
            assert b" 408 " in received(slow)
        with closing(socket.create_connection(("127.0.0.1", port), timeout=20)) as chunked:
            chunked.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"dat\r\n")
            assert b" 408 " in received(chunked)
        for start in (b"", b"POST /predict HTTP/1.1\r\nHost: x\r\nX-A: ", b"POST /predict?explain=" + b"1" * 70_000, b"GET /health HTTP/1.1\r\nX-A: " + b"a" * 700_000):
            with closing(socket.create_connection(("127.0.0.1", port), timeout=20)) as silent, suppress(ConnectionError):  # a head that does not come, does not end, or is too large
                silent.sendall(start)
                assert received(silent).partition(b"\r\n")[0] in (b"", b"HTTP/1.1 431 Request Header Fields Too Large")
        request = urllib.request.Request(f"http://127.0.0.1:{port}/predict?explain=2", data=one(salario_cliente=7_946_125), headers={"content-type": "application/json", "x-request-id": "r-9"})
        urllib.request.urlopen(request, timeout=20).close()
        with ThreadPoolExecutor(8) as pool:  # one connection, several requests in it, and heads without bodies
            assert [*pool.map(lambda _: urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=20).status, range(16))] == [200] * 16
        process.terminate()
        lines = [json.loads(line) for line in process.communicate(timeout=20)[1].splitlines()]
    assert any(line.get("request_id") == "r-9" and line["status"] == 200 and line["route"] == "/predict" for line in lines)
    assert not any(word in json.dumps(lines) for word in ("7946125", "explain", "127.0.0.1:" + str(port) + "/predict"))


def test_silence_ends_a_connection_and_use_does_not(run):
    from http.client import HTTPConnection

    with served(run, body_seconds=2) as (_, port), closing(HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
        for _ in range(8):
            connection.request("POST", "/predict", body=json.dumps(BODY), headers={"content-type": "application/json"})
            with connection.getresponse() as found:
                assert found.status == 200 and json.load(found)["predictions"]
            time.sleep(0.3)
        assert received(connection.sock) == b""


def test_an_answer_in_one_piece_says_what_one_in_parts_says(run):
    app, sent = create_app(run), []

    async def receive():
        return {"type": "http.request", "body": json.dumps(BODY).encode()}

    async def send(message):
        sent.append(message)

    def whole(scope, answer):
        sent.append(answer)
        return len(sent) == 1

    scope = {"type": "http", "path": "/predict", "method": "POST", "query_string": b"", "headers": [(b"x-request-id", b"r-1")], "server": None}
    for _ in range(2):
        asyncio.run(app(scope | {"extensions": {"creditrisk.whole": whole}}, receive, send))
    once, refused, head, body = sent
    lines = b"".join(b"%b: %b\r\n" % header for header in sorted(head["headers"]))
    found = once.removesuffix(b"\r\n\r\n" + body["body"]).removeprefix(b"HTTP/1.1 200 OK\r\n").split(b"\r\n")
    assert once == refused and b"".join(line + b"\r\n" for line in sorted(found)) == lines


def test_what_is_not_there_is_refused_like_everything_else(run):
    asked = client(run)
    for found, status in ((asked.get("/nowhere"), 404), (asked.put("/model"), 405), (asked.delete("/docs/static/x"), 405), (asked.get("/predict"), 405)):
        assert found.status_code == status and found.json()["request_id"] == found.headers["x-request-id"] and found.json()["errors"] == [] and ("allow" in found.headers) == (status == 405)


def test_one_connection_too_many_is_turned_away_and_the_others_go_on(run):
    from http.client import HTTPConnection

    with served(run, max_connections=2) as (_, port), ExitStack() as stack:
        first, second, third = (stack.enter_context(closing(HTTPConnection("127.0.0.1", port, timeout=20))) for _ in range(3))
        for connection, status in ((first, 200), (second, 200), (third, 503), (first, 200), (second, 200)):
            connection.request("GET", "/health")
            with connection.getresponse() as found:
                assert found.status == status and (found.read() or status == 503)


def test_who_leaves_most_unread_makes_room(monkeypatch):
    from creditrisk import protocol

    class Transport:
        def __init__(self, unread):
            self.unread, self.aborted = unread, False

        def get_write_buffer_size(self):
            return self.unread

        def abort(self):
            self.aborted = True

    monkeypatch.setattr(protocol, "UNREAD", 100)
    peers = [mock.Mock(transport=Transport(n)) for n in (0, 30, 50, 20)]
    asking = mock.Mock(connections={*peers}, transport=Transport(0))
    protocol.Protocol.make_room(asking, 45)
    assert [peer.transport.aborted for peer in peers] == [False, False, True, False]


def test_a_head_request_is_answered_over_a_kept_connection(run):
    from http.client import HTTPConnection

    with served(run) as (_, port), closing(HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
        for method, path, status in (("HEAD", "/predict", 405), ("GET", "/health", 200), ("HEAD", "/health", 405), ("POST", "/predict", 400), ("GET", "/docs", 200)):
            connection.request(method, path, body=b"{" if method == "POST" else None)
            with connection.getresponse() as found:
                assert found.status == status and (found.read() or method == "HEAD")


def test_the_server_does_not_start_open_or_without_a_model(run, tmp_path):
    from creditrisk.deploy import serve

    with pytest.raises(SettingsError, match="creditrisk key"):
        serve(Settings(run_dir=str(run), host="0.0.0.0"))
    with pytest.raises(ScorerError, match="03_training"):
        serve(Settings(run_dir=str(tmp_path)))
    for url in ("garbage", "mysql://u:hush@h/d", "sqlite://"):
        with pytest.raises(DecisionError) as error:
            serve(Settings(run_dir=str(run), decisions_url=url))
        assert "hush" not in str(error.value)


# --- fuzz ----------------------------------------------------------------------------------------------------------------------------


def test_a_few_hundred_mutated_bodies(run):
    from fuzz import fuzz_app

    found = fuzz_app(run, 400, seed=11)
    assert found.wrong == [] and found.statuses[200] > 20 and found.statuses[422] > 50 and found.statuses[400] > 20


def test_the_documentation_is_true(run):
    pytest.importorskip("schemathesis")
    from fuzz import fuzz_schema

    assert fuzz_schema(run, 25) == []


def test_a_request_that_is_cancelled_harms_nothing(run):
    app = create_app(run)

    async def asked():
        async def receive():
            await asyncio.sleep(60)

        scope = {"type": "http", "path": "/predict", "method": "POST", "query_string": b"", "headers": [], "server": None}
        task = asyncio.create_task(app(scope, receive, None))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(asked())
    assert app.bodies.ends == {} and app.bodies.held == 0
