"Alerts and notices: causes and advice, what is news, sinks that fail, processes that meet."

import csv
import email
import email.policy
import json
import multiprocessing
import socket
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer

import pandas as pd
import pytest

from creditrisk.alerts import ACTION_OF, ACTIONS, ADVICE, WHY, advice_of, alert_record, cause_of, retraining_of
from creditrisk.load import Portfolio
from creditrisk.notices import COLUMNS, HISTORY, OUTBOX, UNDELIVERED, deliver, notify, read_history, read_outbox
from creditrisk.profile import BROKEN

DAY = datetime(2026, 1, 1, tzinfo=UTC)
TEXT = {"es": "texto", "en": "text"}


def alert(feature: str = "salary", severity: str = "AMARILLO", cause: str = "population", **more) -> dict:
    return {"id": f"{feature}:{cause}", "feature": feature, "severity": severity, "cause": cause, "since": "2025-10", "label": TEXT, "evidence": TEXT, "action": TEXT, "action_code": "nothing", "periods": 3} | more


def record(*alerts: dict, mode: str = "new_loans", portfolio: str = "lender") -> dict:
    return {"alerts": list(alerts), "verdict": "AMARILLO", "summary": TEXT, "advice": {"code": "watch"} | TEXT, "portfolio": portfolio, "mode": mode}


def night(folder, i: int, *alerts: dict, unmeasured=(), **kwargs) -> dict:
    return notify(record(*alerts, **{k: kwargs.pop(k) for k in ("mode", "portfolio") if k in kwargs}), folder, f"run{i}", set(unmeasured), at=DAY + timedelta(days=i), **kwargs)


class Hook(HTTPServer):
    "A loopback receiver that answers as it is told, then with 200."

    def __init__(self, *answers: int):
        self.answers, self.got, self.asked = list(answers), [], 0
        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *args):
        self.shutdown()
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        status = self.server.answers.pop(0) if self.server.answers else 200
        self.server.asked += 1
        if status == 200:
            self.server.got.append(body)
        self.send_response(status)
        self.end_headers()

    def log_message(self, *args):
        pass


@pytest.fixture(autouse=True)
def no_sinks(monkeypatch):
    for name in ("FILE", "WEBHOOK", "SMTP"):
        monkeypatch.delenv(f"CREDITRISK_ALERT_{name}", raising=False)
    return monkeypatch


@pytest.fixture
def sink(tmp_path, no_sinks):
    "A file that is told."
    no_sinks.setenv("CREDITRISK_ALERT_FILE", str(tmp_path / "told.jsonl"))
    return tmp_path / "told.jsonl"


def test_every_cause_has_an_action_and_every_text_both_languages():
    engine = [*BROKEN, "quality", "population", "dependence", ""]
    row = {"severity": "ROJO", "psi": 0.3, "tests": ""}
    deflated = {"salary": {"severity": "VERDE", "psi": 0.02}}
    causes = {cause_of(f, pd.Series(row | {"cause": c, "tests": t}), deflated) for f in ("salary", "rent", "pd") for c in engine for t in ("", "new_level mix")}
    assert causes == set(ACTION_OF) and set(ACTION_OF.values()) <= set(ACTIONS)
    assert all(len(words) == 2 and all(words) for table in (ACTIONS, ADVICE, WHY) for words in table.values())


@pytest.mark.parametrize(
    ("alerts", "code"),
    [
        ([], "nothing"),
        ([alert(severity="ROJO", cause="quality"), alert("pd:order", "ROJO", "performance", action_code="retrain")], "investigate"),
        ([alert("pd:order", "AMARILLO", "performance", action_code="retrain")], "retrain"),
        ([alert(severity="ROJO"), alert("pd", "AMARILLO", "score")], "retrain"),
        ([alert(severity="ROJO", periods=1), alert("pd", "AMARILLO", "score")], "watch"),
        ([alert(severity="ROJO", cause="nominal"), alert("pd", "AMARILLO", "score")], "index"),
        ([alert(severity="ROJO", cause="nominal"), alert("pd:level", "AMARILLO", "performance", action_code="recalibrate")], "recalibrate"),
        ([alert(severity="AMARILLO", cause="new")], "watch"),
        ([alert(severity="AMARILLO", cause="category")], "watch"),
    ],
)
def test_advice_in_the_order_of_what_must_come_first(alerts, code):
    verdict = min((a["severity"] for a in alerts), key=["ROJO", "AMARILLO", "VERDE"].index, default="VERDE")
    assert advice_of(verdict, alerts, retraining_of(alerts, None)) == code


def test_an_unchanged_alert_is_told_once_a_cool_down(tmp_path, sink):
    told = [night(tmp_path, i, alert(), cooldown_days=3)["alerts"][0] for i in range(8)]
    assert [a["notify"] for a in told] == [True, False, False, True, False, False, True, False] and {a["status"] for a in told[1:]} == {"continuing"}
    assert len(sink.read_text().splitlines()) == 3


def test_nobody_was_told_where_there_was_nobody_to_tell(tmp_path, no_sinks):
    assert night(tmp_path, 0, alert())["history"][0]["notified"] == "no"
    no_sinks.setenv("CREDITRISK_ALERT_FILE", str(tmp_path / "told.jsonl"))
    found = night(tmp_path, 1, alert())
    assert found["alerts"][0]["status"] == "continuing" and found["alerts"][0]["notify"] and len((tmp_path / "told.jsonl").read_text().splitlines()) == 1


def test_worse_is_news_and_so_is_the_end(tmp_path, sink):
    night(tmp_path, 0, alert())
    assert night(tmp_path, 1, alert(severity="ROJO"))["alerts"][0]["status"] == "worse"
    assert night(tmp_path, 2, unmeasured={"salary"})["cleared"] == [], "not measured, not over"
    over = night(tmp_path, 3)["cleared"]
    assert [(a["feature"], a["status"], a["notify"]) for a in over] == [("salary", "cleared", True)]
    assert night(tmp_path, 4)["cleared"] == [] and night(tmp_path, 5, alert())["alerts"][0]["status"] == "new"
    other = night(tmp_path, 6, alert(cause="nominal"))
    assert other["alerts"][0]["status"] == "new" and other["cleared"][0]["cause"] == "population", "another cause is another alert"


def test_portfolios_and_ways_of_comparing_do_not_mix(tmp_path):
    night(tmp_path, 0, alert())
    assert night(tmp_path, 1, alert(), portfolio="other")["alerts"][0]["status"] == "new" and night(tmp_path, 2, alert(), mode="time_split_70_30")["alerts"][0]["status"] == "new"
    found = night(tmp_path, 3, alert())
    assert found["alerts"][0]["status"] == "continuing" and {r["portfolio"] for r in found["history"]} == {"lender"}


def test_history_has_the_columns_agreed_and_survives_damage(tmp_path):
    night(tmp_path, 0, alert())
    with (tmp_path / HISTORY).open(newline="") as file:
        assert next(csv.reader(file))[:8] == ["at", "run", "feature", "severity", "cause", "status", "since", "notified"]
    with (tmp_path / HISTORY).open("a") as file:
        file.write("2026-01-01,cut sh\n\x00\n")
    assert len(read_history(tmp_path)) == 1 and night(tmp_path, 1, alert())["alerts"][0]["status"] == "continuing"
    assert set(read_history(tmp_path)[0]) >= set(COLUMNS)


def test_a_webhook_that_stumbles_is_tried_again(tmp_path, no_sinks):
    with Hook(503, 500) as hook:
        no_sinks.setenv("CREDITRISK_ALERT_WEBHOOK", f"http://127.0.0.1:{hook.server_port}/secret-token")
        found = night(tmp_path, 0, alert())
        assert found["sinks"] == [{"sink": "webhook", "sent": 1, "waiting": 0, "refused": 0, "error": ""}] and hook.asked == 3
        assert hook.got[0]["alerts"][0]["feature"] == "salary" and hook.got[0]["portfolio"] == "lender" and read_outbox(tmp_path) == []
        night(tmp_path, 1, alert())
        assert len(hook.got) == 1, "nothing new, nothing sent"


def test_a_dead_sink_loses_nothing_and_stops_nothing(tmp_path, no_sinks):
    no_sinks.setenv("CREDITRISK_ALERT_WEBHOOK", "http://127.0.0.1:9/secret-token")
    no_sinks.setenv("CREDITRISK_ALERT_FILE", str(tmp_path / "deep" / "told.jsonl"))
    first, second = night(tmp_path, 0, alert()), night(tmp_path, 1, alert("rent"))
    assert [s["waiting"] for s in first["sinks"] if s["sink"] == "webhook"] == [1] and [s["waiting"] for s in second["sinks"] if s["sink"] == "webhook"] == [2]
    assert "secret" not in json.dumps([first, second]) + "".join(p.read_text() for p in tmp_path.glob("*.*") if p.is_file()), "no address is written down"
    with Hook() as hook:
        no_sinks.setenv("CREDITRISK_ALERT_WEBHOOK", f"http://127.0.0.1:{hook.server_port}/")
        assert {s["sink"]: s["sent"] for s in deliver(tmp_path)} == {"file": 0, "webhook": 2}
        assert [[a["feature"] for a in m["alerts"]] for m in hook.got] == [["salary"], ["rent"]] and [a["feature"] for a in hook.got[1]["cleared"]] == ["salary"]
    lines = (tmp_path / "deep" / "told.jsonl").read_text().splitlines()
    assert len(lines) == 2 and len({json.loads(line)["id"] for line in lines}) == 2


def test_a_message_that_is_refused_does_not_block_the_next(tmp_path, no_sinks):
    with Hook(400) as hook:
        no_sinks.setenv("CREDITRISK_ALERT_WEBHOOK", f"http://127.0.0.1:{hook.server_port}/")
        found = night(tmp_path, 0, alert())
        assert found["sinks"][0]["error"] == "HTTP 400" and hook.asked == 1, "it is not asked again and again"
        hook.answers = [400]
        night(tmp_path, 1, alert("rent"))
        assert hook.got == [] and found["sinks"][0]["refused"] == 1
        night(tmp_path, 2, alert("rent"), alert("age"))
        assert [m["alerts"][0]["feature"] for m in hook.got] == ["age"] and read_outbox(tmp_path) == []
    kept = [json.loads(line)["message"]["alerts"][0]["feature"] for line in (tmp_path / UNDELIVERED).read_text().splitlines()]
    assert kept == ["salary", "rent"], "for a person"


def test_a_damaged_outbox_costs_no_alert(tmp_path, no_sinks):
    no_sinks.setenv("CREDITRISK_ALERT_FILE", str(tmp_path / "told.jsonl"))
    (tmp_path / OUTBOX).write_text('{"id": "x"\n[1]\n')
    found = night(tmp_path, 0, alert())
    assert found["sinks"][0]["sent"] == 1 and len((tmp_path / "told.jsonl").read_text().splitlines()) == 1 and len((tmp_path / UNDELIVERED).read_text().splitlines()) == 2


def test_what_could_not_be_put_into_the_outbox_is_not_noted_as_told(tmp_path, no_sinks):
    no_sinks.setenv("CREDITRISK_ALERT_FILE", str(tmp_path / "told.jsonl"))
    (tmp_path / OUTBOX).mkdir()
    assert night(tmp_path, 0, alert())["sinks"][0]["error"] and read_history(tmp_path) == []
    (tmp_path / OUTBOX).rmdir()
    assert night(tmp_path, 1, alert())["alerts"][0] | {} == night(tmp_path / "other", 1, alert())["alerts"][0], "news, as on the first night"
    assert len((tmp_path / "told.jsonl").read_text().splitlines()) == 2


def test_no_password_goes_into_the_open(tmp_path, no_sinks):
    for url, says in (("smtp://user:secret@mail.example.org/?to=a@example.org", "in the open"), ("smtps://mail.example.org/?from=a@example.org", "names nobody")):
        no_sinks.setenv("CREDITRISK_ALERT_SMTP", url)
        found = night(tmp_path, 0, alert(url))
        assert says in found["sinks"][0]["error"] and "secret" not in found["sinks"][0]["error"]


def quality(auc: float, half: float, bads: int) -> dict:
    return {"auc": auc, "auc_low": auc - half, "auc_high": auc + half, "bads": bads, "n": 20 * bads}


def calm_table() -> pd.DataFrame:
    row = {"severity": "VERDE", "cause": "", "psi": 0.001, "psi_noise": 0.01, "n_reference": 5000, "n_current": 2000, "change_es": "", "change_en": ""}
    return pd.DataFrame({"salary": row}).T.rename_axis("feature")


def test_no_green_light_above_a_model_that_fails():
    history = pd.DataFrame({"severity": {("2025-01", "salary"): "VERDE"}}).rename_axis(["period", "feature"])
    lost = {"reference": quality(0.75, 0.02, 400), "current": quality(0.55, 0.04, 250), "intercept": None, "young": None, "since": "2025-06"}
    found = alert_record(calm_table(), history, Portfolio("lender", {}, "paid", "1"), found=lost)
    assert found["verdict"] == "ROJO" and found["counts"]["ROJO"] == 0 and found["advice"]["code"] == "retrain" and found["alerts"][0]["feature"] == "pd:order"
    assert found["summary"]["es"].startswith("El modelo perdió orden") and found["summary"]["en"].index("lost order") < found["summary"]["en"].index("look like")


@pytest.mark.parametrize(("current", "why"), [(quality(0.70, 0.03, 400), "settled"), (quality(0.55, 0.15, 12), "lasting"), (quality(0.66, 0.06, 60), "lasting")])
def test_few_outcomes_settle_nothing(current, why):
    alerts = [alert(severity="ROJO"), alert("pd", "AMARILLO", "score")]
    assert retraining_of(alerts, {"reference": quality(0.69, 0.03, 400), "current": current})["why_code"] == why


def test_mail_arrives_in_both_languages(tmp_path, no_sinks):
    from aiosmtpd.controller import Controller

    class Box:
        got = []

        async def handle_DATA(self, server, session, envelope):
            self.got.append(envelope)
            return "250 OK"

    with socket.socket() as probe:  # a free port: the controller takes no 0
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    controller = Controller(Box(), hostname="127.0.0.1", port=port)
    controller.start()
    try:
        no_sinks.setenv("CREDITRISK_ALERT_SMTP", f"smtp://127.0.0.1:{port}/?from=risk@example.org&to=a@example.org,b@example.org")
        found = night(tmp_path, 0, alert(label={"es": "Salario único", "en": "Single salary"}))
    finally:
        controller.stop()
    assert found["sinks"] == [{"sink": "smtp", "sent": 1, "waiting": 0, "refused": 0, "error": ""}] and Box.got[0].rcpt_tos == ["a@example.org", "b@example.org"]
    mail = email.message_from_bytes(Box.got[0].content, policy=email.policy.default)
    assert "AMARILLO" in mail["Subject"] and "Salario único" in mail.get_content() and "Single salary" in mail.get_content()


def _nights(folder, name: str) -> None:
    for i in range(8):
        notify(record(alert(f"{name}{i}")), folder, name, set())


def test_two_processes_lose_no_row(tmp_path, no_sinks):
    no_sinks.setenv("CREDITRISK_ALERT_FILE", str(tmp_path / "told.jsonl"))
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_nights, args=(tmp_path, name)) for name in "abc"]
    for w in workers:
        w.start()
    for w in workers:
        w.join(60)
    assert [w.exitcode for w in workers] == [0, 0, 0]
    features = [r["feature"] for r in read_history(tmp_path) if r["status"] == "new"]
    assert sorted(features) == sorted(f"{n}{i}" for n in "abc" for i in range(8)) and read_outbox(tmp_path) == []
    assert len((tmp_path / "told.jsonl").read_text().splitlines()) == 24, "told once each"


def test_a_folder_that_cannot_be_written_does_not_stop_the_run(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    found = night(tmp_path / "file", 0, alert())
    assert found["alerts"][0]["status"] == "new" and found["history"] == [] and found["sinks"][0]["error"]


def test_history_only_where_nobody_shall_be_told(tmp_path, no_sinks):
    no_sinks.setenv("CREDITRISK_ALERT_FILE", str(tmp_path / "told.jsonl"))
    assert night(tmp_path, 0, alert(), hand_over=False)["sinks"] == [] and not (tmp_path / "told.jsonl").exists() and [r["notified"] for r in read_history(tmp_path)] == ["no"]
