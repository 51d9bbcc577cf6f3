"The dashboard in a real browser, served by a real Voilà behind a path and a token."

import json
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from creditrisk.dashboard import Page, inlined, page, read_run, voila_command, write_report
from creditrisk.load import Column, Portfolio
from creditrisk.monitoring import monitor, split_loans

NBS = Path(__file__).parents[1] / "nbs"
CHROMIUM = next((p for p in ("/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome") if Path(p).exists()), None)
NASTY = "</script><a href=https://example.org>x</a><img src=x onerror=alert(1)>"
TOKEN = "a-token-of-the-tests"
BOOK = Portfolio(
    "book",
    {"day": Column("day", "date"), "salary": Column("salary", "money", unit="COP a month", label={"es": "Salario", "en": "Salary"}), "job": Column("job", "category", label={"es": "Oficio", "en": "Job"}), "paid": Column("paid", "category", known="outcome")},
    "paid", "1", date="day", label={"es": "Libro", "en": "Book"},
)  # fmt: skip


def book() -> pd.DataFrame:
    chance, days = np.random.RandomState(2), pd.date_range("2025-01-01", periods=365).repeat(8)
    frame = pd.DataFrame({"day": days, "salary": chance.lognormal(7, 0.5, len(days)), "job": chance.choice(["employee", NASTY], len(days), p=[0.8, 0.2])})
    return frame.assign(salary=frame["salary"].where(frame["day"] < "2025-10-01", frame["salary"] * 2))


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    "A run as the chapter writes it, without a model and without outcomes."
    folder = tmp_path_factory.mktemp("run")
    monitor(split_loans(book(), BOOK), BOOK).write(folder)
    return folder


@pytest.fixture(scope="module")
def undated(tmp_path_factory) -> Path:
    folder, portfolio = tmp_path_factory.mktemp("undated"), Portfolio("book", BOOK.columns, "paid", "1")
    monitor(split_loans(book().drop(columns="day")[:900], portfolio), portfolio).write(folder)
    return folder


def band(period: str, n: int, bads: int | None, mature: bool) -> dict:
    known = {"bads": bads, "bad_rate": bads / n, "low": bads / n - 0.01, "high": bads / n + 0.02} if bads else dict.fromkeys(("bads", "bad_rate", "low", "high"))
    return {"period": period, "n": n, "approve": 0.7, "review": 0.2, "refuse": 0.1, "pd": 0.05, "mature": mature} | known


def parts() -> dict:
    "What a model and outcomes add to the detail, in its schema."
    two = ["2025-01", "2025-02..2025-03"]
    salary = {"feature": "salary", "label": {"es": "Salario", "en": "Salary"}}
    measured = [{"period": p, "n": 240, "bads": 20, "mature": m, "auc": 0.7, "auc_low": 0.6, "auc_high": 0.8, "ks": 0.3, "gini": 0.4, "brier": 0.04, "expected": 0.05, "observed": 0.08, "low": 0.06, "high": 0.1} for p, m in zip(two, (True, False))]
    return {
        "score": {"edges": [500, 520], "then": [10, 80, 10], "now": [20, 70, 10], "periods": {two[0]: [1, 2, 3]}, "bands": [band(two[0], 240, 20, True), band(two[1], 30, None, False)], "contributions": [salary | {"points": -2.5}]},
        "performance": {
            "young": 0.4, "maturity_months": 3, "periods": measured, "bands": [{"band": 1, "n": 120, "expected": 0.08, "observed": 0.1, "low": 0.05, "high": 0.15}],
            "estimate": {"auc": 0.71, "auc_low": 0.66, "auc_high": 0.76, "bad_rate": 0.055, "checked": [{"period": two[0], "estimated": 0.05, "realised": 0.06}]},
            "intercept": {"shift": 0.4, "expected": 0.05, "observed": 0.08, "low": 0.06, "high": 0.1, "n": 240, "bads": 20, "advised": True, "brier_before": 0.05, "brier_after": 0.04, "log_loss_before": 0.2, "log_loss_after": 0.19},
        },
        "population": {"auc": 0.71, "low": 0.66, "high": 0.76, "features": [salary | {"importance": 0.2}]},
        "segments": [{"column": "salary", "segment": "1,200 – 2,500", "share_reference": 0.2, "share_current": 0.4, "psi": 0.14, "psi_inside": 0.3, "n": 350, "score_shift": -0.012}],
        "anomalies": [{"row": 17, "period": "2025-10", "score": 0.9, "stranger": 0.001, "columns": [salary | {"value": 90000.0, "typical": 1100.0}]}],
        "pooled": [{"into": two[1], "periods": ["2025-02", "2025-03"]}],
    }  # fmt: skip


@pytest.fixture(scope="module")
def whole(run, tmp_path_factory) -> Path:
    "The same run with everything that a run can have."
    folder = tmp_path_factory.mktemp("whole") / "run"
    shutil.copytree(run, folder)
    detail, alerts = (json.loads((folder / name).read_text(encoding="utf-8")) for name in ("monitoring_detail.json", "alerts.json"))
    index = {"es": "Precios", "en": "Prices"}
    detail["features"]["salary"]["deflated"] = {"index": index, "psi": 0.012, "severity": "VERDE", "psi_by_period": [0.01] * len(detail["periods"])}
    alerts["history"] = [{"at": "2025-11-02T10:00:00Z", "run": "first", "feature": "salary", "severity": "ROJO", "cause": "population", "status": "new", "since": "2025-10", "notified": True}]
    alerts["retraining"] = {"advised": False, "why": {"es": "el cambio es nominal.", "en": "the change is nominal."}, "evidence": {"faults": [], "lasting": ["salary"], "score_moved": False}}
    (folder / "monitoring_detail.json").write_text(json.dumps(detail | parts()), encoding="utf-8")
    (folder / "alerts.json").write_text(json.dumps(alerts), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not CHROMIUM:
        pytest.skip("Chromium is not installed (Debian: apt-get install chromium)")
    flags = "--no-sandbox --disable-gpu --disable-background-networking --disable-component-update --disable-sync --no-first-run"
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=flags.split())
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def address(whole) -> str:
    "Where Voilà serves the run, to those with the token."
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command, environment = voila_command(NBS, whole, port, base_url="/risk/page", token=TOKEN)
    server = subprocess.Popen(command, cwd=NBS, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(150):
            if server.poll() is not None:
                pytest.fail(f"voila ended with code {server.returncode}")
            try:
                socket.create_connection(("127.0.0.1", port), 0.2).close()
                break
            except OSError:
                time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/risk/page/"
    finally:
        server.terminate()
        server.wait(20)


def opened(browser, url: str, viewer=None, width: int = 1360):
    "A page once its plots are drawn, with what its console said and what it asked for elsewhere."
    tab = (viewer or browser).new_page(**({} if viewer else {"viewport": {"width": width, "height": 900}}))
    tab.said, tab.asked = [], []
    tab.on("console", lambda message: tab.said.append(message.text))
    tab.on("pageerror", lambda error: tab.said.append(str(error)))
    tab.on("dialog", lambda dialog: tab.said.append("a dialog opened"))
    tab.on("request", lambda request: None if request.url.startswith((url.split("?")[0], "data:", "blob:")) else tab.asked.append(request.url))
    tab.goto(url)
    tab.wait_for_selector("#cr-root[data-drawn=yes]", timeout=60_000)
    return tab


@pytest.fixture(scope="module")
def report(whole, tmp_path_factory) -> Path:
    "The run's page as a file."
    return write_report(whole, tmp_path_factory.mktemp("mail") / "monitoring_report.html")


@pytest.fixture()
def tab(browser, report):
    "The page of the whole run; at its end nothing was said or asked for."
    tab = opened(browser, report.as_uri())
    yield tab
    assert tab.said == [] and tab.asked == []
    tab.close()


def shown(browser, tmp_path: Path, run: Path):
    "The page of a run, opened from a file."
    return opened(browser, write_report(run, tmp_path / "page.html").as_uri())


def heights(tab, plot: str = "cr-distribution") -> list[float]:
    "What a distribution plot draws for the current batch."
    return tab.evaluate("id => [...document.getElementById(id).data[1].y]", plot)


def test_voila_shows_the_run_to_those_with_the_token(browser, address):
    viewer = browser.new_context()
    tab = opened(browser, f"{address}?token={TOKEN}", viewer)
    text = tab.inner_text("body")
    assert "Cambio crítico en 1 de 2 variables: Salario." in tab.inner_text("#cr-verdict") and "Qué hacer" in text
    assert "90.000 COP al mes (lo usual: 1.100)" in tab.inner_text("#cr-anomalies").replace("\xa0", " ")
    for hidden in ("default_exp", "import ", "assert", "run_dir", "Traceback", "## "):
        assert hidden not in text
    assert tab.said == [] and tab.asked == [] and tab.title() == "Monitoreo de la cartera" and TOKEN not in tab.url
    tab.reload()
    tab.wait_for_selector("#cr-verdict", timeout=60_000)
    viewer.close()


@pytest.mark.parametrize("query", ["", "?token=another"])
def test_without_the_token_the_page_is_refused(browser, address, query):
    viewer = browser.new_context()
    tab = viewer.new_page()
    answer = tab.goto(address + query)
    assert answer.status == 403 and "hace falta su clave" in tab.inner_text("body") and tab.locator("#cr-data").count() == 0
    if not query:
        tab.fill("input[name=token]", TOKEN)
        tab.click("button")
        tab.wait_for_selector("#cr-verdict", timeout=60_000)
    viewer.close()


def test_nothing_of_the_server_can_be_fetched(browser, address):
    viewer = browser.new_context()
    for headers in ({}, {"Authorization": f"token {TOKEN}"}):
        for path in ("voila/files/voila.json", "voila/files/04_monitoring.ipynb", "voila/files/%2e%2e/settings.ini", "voila/templates/creditrisk/static/../index.html.j2", "api/contents", "api/kernels", "00_load.ipynb"):
            assert viewer.request.get(address + path, headers=headers).status >= 400
    viewer.close()


def test_several_viewers_at_once(browser, address):
    viewer = browser.new_context()
    tabs = [viewer.new_page() for _ in range(3)]
    for tab in tabs:
        tab.goto(f"{address}?token={TOKEN}", wait_until="commit")
    for tab in tabs:
        tab.wait_for_selector("#cr-verdict", timeout=60_000)
    viewer.close()


def test_picker_sorting_filter_and_language(tab):
    before = heights(tab)
    tab.select_option("#cr-picker", "job")
    assert len(heights(tab)) == 3 and tab.get_attribute("#cr-table tr.picked", "data-feature") == "job"
    tab.click("#cr-table tr[data-feature=salary] button")
    assert heights(tab) == before and tab.input_value("#cr-picker") == "salary"
    tab.select_option("#cr-metric", "salary")
    tab.wait_for_selector("#cr-root[data-drawn=yes]")
    assert "Salario" in tab.get_attribute("#cr-evolution", "aria-label")
    tab.click("#cr-lang-en")
    assert "Critical change in 1 of 2 variables: Salary." in tab.inner_text("#cr-verdict") and "Qué" not in tab.inner_text("#cr-root") and tab.title() == "Portfolio monitoring"
    tab.click(".tile.VERDE")
    assert tab.locator("#cr-table tbody tr").count() == 1
    tab.click(".tile.VERDE")
    for first in ("salary", "job"):
        tab.click("#cr-table th[data-column=psi] button")
        assert tab.get_attribute("#cr-table tbody tr >> nth=0", "data-feature") == first


def test_a_period_changes_both_distributions(tab):
    before, scores = heights(tab), heights(tab, "cr-scores")
    tab.select_option("#cr-period", "2025-01")
    tab.wait_for_function("() => document.getElementById('cr-root').dataset.drawn === 'yes'")
    assert heights(tab) != before and heights(tab, "cr-scores") != scores and tab.input_value("#cr-score-period") == "2025-01"
    assert "ene 2025" in tab.inner_text("#cr-told") and tab.evaluate("document.getElementById('cr-distribution').layout.xaxis.ticktext.at(-1)") == "Falta"


def test_every_part_says_what_it_found(tab):
    says = {
        "#cr-told": "Descontando el índice «Precios»", "#cr-verdict": "sigue el índice «Precios»", "#cr-evolution-part": "feb–mar 2025", "#cr-score-part": "cambió −2,5 puntos", "#cr-performance-part": "El 40 % de los créditos recientes",
        "#cr-estimate": "Es una estimación, no una medida", "#cr-intercept": "el ajuste está justificado", "#cr-population-part": "reconoce el de hoy en 71 (entre 66 y 76)", "#cr-segments": "1.200 – 2.500 COP al mes", "#cr-anomalies": "Salario",
        "#cr-history": "Nueva", "#cr-retraining-part": "El cambio es nominal.", "#cr-alerts": "desde oct 2025",
    }  # fmt: skip
    for part, text in says.items():
        assert text in tab.text_content(part).replace("\xa0", " "), part
    assert tab.evaluate("[...document.getElementById('cr-auc').data[0].marker.symbol]") == ["circle", "circle-open"]
    tab.click("#cr-rates + .numbers summary")
    assert "Maduro" in tab.inner_text("#cr-rates + .numbers table")


def test_downloads_and_paper(tab, browser, tmp_path):
    with tab.expect_download() as table:
        tab.click("#cr-csv")
    text = Path(table.value.path()).read_text(encoding="utf-8-sig")
    assert table.value.suggested_filename == "book_variables_es.csv" and text.splitlines()[1].startswith('"Salario";"Crítica";') and "0," in text
    tab.click("#cr-lang-en")
    with tab.expect_download() as mail:
        tab.click("#cr-report")
    copy = tmp_path / "copy.html"
    copy.write_bytes(Path(mail.value.path()).read_bytes())
    again = opened(browser, copy.as_uri())
    assert "Critical change" in again.inner_text("#cr-verdict") and "90000" not in copy.read_text(encoding="utf-8") and again.said == [] and again.asked == [] and copy.stat().st_size < 3e6
    assert again.pdf(format="A4")[:4] == b"%PDF" and again.evaluate("document.querySelector('#cr-distribution .main-svg').clientWidth") > 700
    again.close()


def test_the_page_names_values_that_the_mailed_report_leaves_out(whole, report):
    assert '"value":90000.0' in page(read_run(whole)) and '"value":90000.0' not in report.read_text(encoding="utf-8")


def test_a_narrow_screen_is_not_exceeded(browser, report):
    tab = opened(browser, report.as_uri(), width=390)
    assert tab.evaluate("document.documentElement.scrollWidth") == 390 and tab.said == []
    tab.close()


def test_hostile_names_stay_text(tab):
    tab.select_option("#cr-picker", "job")
    tab.wait_for_timeout(200)
    assert tab.locator("#cr-root img, #cr-root svg a").count() == 0 and "<a href" in tab.text_content("#cr-distribution") and "</script" not in inlined({"level": NASTY})


def test_without_model_outcomes_or_dates_the_page_says_so(browser, tmp_path, run, undated):
    for folder, says in ((run, "no tiene un modelo"), (undated, "no tiene fecha")):
        tab = shown(browser, tmp_path, folder)
        assert says in tab.text_content("#cr-root") and "todavía no tienen resultado" in tab.text_content("#cr-performance-part") and tab.said == []
        tab.close()


@pytest.mark.parametrize("damage", ["nothing", "alerts.json", "monitoring_detail.json", "latest_drift_metrics.csv monitoring_log.csv", "old", "odd"])
def test_what_is_missing_or_broken_is_said(browser, tmp_path, whole, damage):
    folder = tmp_path / "run"
    shutil.copytree(whole, folder)
    detail = json.loads((folder / "monitoring_detail.json").read_text(encoding="utf-8"))
    if damage == "nothing":
        shutil.rmtree(folder)
    elif damage == "old":  # as the first version wrote it
        (folder / "monitoring_detail.json").write_text(json.dumps({"schema": 1, "periods": detail["periods"], "features": detail["features"]}), encoding="utf-8")
    elif damage == "odd":  # well-formed, but not what it should be
        (folder / "monitoring_detail.json").write_text(json.dumps(detail | {"performance": {"periods": 7}, "segments": [None], "score": {"then": "x"}}), encoding="utf-8")
    else:
        for name in damage.split():
            (folder / name).write_bytes((folder / name).read_bytes()[:40])
    tab = shown(browser, tmp_path, folder)
    text, says = tab.inner_text("#cr-root"), {"nothing": "Todavía no hay una corrida", "old": "versión anterior", "odd": "no se pudo mostrar"}
    assert all(name in text for name in ([says[damage]] if damage in says else damage.split())) and (damage == "nothing" or tab.locator("h2").count() >= 3)
    assert tab.said == []
    tab.close()


@pytest.mark.parametrize("content", ["[" * 100_000, "[]", '{"features": null, "periods": []}', '{"features": {}}', "\udcff"])
def test_what_is_no_artifact_is_damage(tmp_path, content):
    (tmp_path / "monitoring_detail.json").write_text(content, encoding="utf-8", errors="surrogateescape")
    found = read_run(tmp_path)
    assert found["detail"] is None and any("monitoring_detail.json" in problem["es"] and "dañado" in problem["es"] for problem in found["problems"])


def test_page_is_silent_outside_voila(run, monkeypatch):
    for name in ("SERVER_SOFTWARE", "VOILA_APP_PORT"):
        monkeypatch.delenv(name, raising=False)
    assert Page(run)._repr_mimebundle_() == {"text/plain": ""}
    monkeypatch.setenv("VOILA_APP_PORT", "8866")
    assert "cr-root" in Page(run)._repr_mimebundle_()["text/html"]


def test_the_first_light_is_that_of_the_worst_alert(browser, tmp_path, whole):
    folder = tmp_path / "run"
    shutil.copytree(whole, folder)
    alerts = json.loads((folder / "alerts.json").read_text(encoding="utf-8"))
    level = alerts["alerts"][0] | {"feature": "pd:level", "label": {"es": "Nivel", "en": "Level"}, "severity": "ROJO", "cause": "performance"}
    (folder / "alerts.json").write_text(json.dumps(alerts | {"verdict": "VERDE", "alerts": [level]}), encoding="utf-8")
    tab = shown(browser, tmp_path, folder)
    assert tab.get_attribute("#cr-verdict", "class") == "verdict ROJO"
    tab.close()


def test_figures_that_json_lacks_are_no_figures(run, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    text = (folder / "monitoring_detail.json").read_text(encoding="utf-8")
    (folder / "monitoring_detail.json").write_text(text.replace('"schema": 2', '"schema": 2, "extra": [NaN, 1e999, "\\ud800"]', 1), encoding="utf-8")
    assert '"extra":[null,null,"\\ud800"]' in page(read_run(folder)) and write_report(folder, tmp_path / "report.html").stat().st_size


def test_voila_hides_what_is_for_developers():
    configuration = json.loads((NBS / "voila.json").read_text())
    hidden = set(configuration["TagRemovePreprocessor"]["remove_cell_tags"])
    cells = json.loads((NBS / "04_monitoring.ipynb").read_text(encoding="utf-8"))["cells"]
    left = ["".join(c["source"]) for c in cells if not hidden & set(c["metadata"].get("tags", []))]
    assert left == ["from creditrisk.dashboard import Page\n\nPage()"]
    assert configuration["MappingKernelManager"]["cull_idle_timeout"] <= 60 and configuration["MappingKernelManager"]["cull_connected"]
    assert configuration == json.loads((NBS.parent / "voila.json").read_text())


def test_the_command_leaves_the_environment_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("JUPYTER_TOKEN", "of someone else")
    before = dict(os.environ)
    command, environment = voila_command(NBS, tmp_path, 9999)
    assert "--port=9999" in command and environment["CREDITRISK_RUN_DIR"] == str(tmp_path) and "JUPYTER_TOKEN" not in environment and dict(os.environ) == before
    assert not any(TOKEN in word for word in voila_command(NBS, tmp_path, 9999, token=TOKEN)[0])
