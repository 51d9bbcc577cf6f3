"The dashboard in a real browser, served by a real Voilà."

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

from creditrisk.dashboard import Page, inlined, page, read_run, voila_command
from creditrisk.load import Column, Portfolio
from creditrisk.monitoring import monitor, split_loans

NBS = Path(__file__).parents[1] / "nbs"
CHROMIUM = next((p for p in ("/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome") if Path(p).exists()), None)
NASTY = "</script><img src=x onerror=alert(1)>"
BOOK = Portfolio(
    "book",
    {"day": Column("day", "date"), "salary": Column("salary", "money", label={"es": "Salario", "en": "Salary"}), "job": Column("job", "category", label={"es": "Oficio", "en": "Job"}), "paid": Column("paid", "category", known="outcome")},
    "paid", "1", date="day", label={"es": "Libro", "en": "Book"},
)  # fmt: skip


def book() -> pd.DataFrame:
    chance, days = np.random.RandomState(2), pd.date_range("2025-01-01", periods=365).repeat(8)
    frame = pd.DataFrame({"day": days, "salary": chance.lognormal(7, 0.5, len(days)), "job": chance.choice(["employee", NASTY], len(days), p=[0.8, 0.2])})
    return frame.assign(salary=frame["salary"].where(frame["day"] < "2025-10-01", frame["salary"] * 2))


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    monitor(split_loans(book(), BOOK), BOOK).write(folder)
    return folder


@pytest.fixture(scope="module")
def undated(tmp_path_factory) -> Path:
    folder, portfolio = tmp_path_factory.mktemp("undated"), Portfolio("book", BOOK.columns, "paid", "1")
    monitor(split_loans(book().drop(columns="day"), portfolio), portfolio).write(folder)
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
def address(run) -> str:
    "Where Voilà serves the run."
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command, environment = voila_command(NBS, run, port)
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
        yield f"http://127.0.0.1:{port}/"
    finally:
        server.terminate()
        server.wait(20)


def opened(browser, url: str):
    "A page, with what its console said and what it asked for elsewhere."
    tab = browser.new_page(viewport={"width": 1360, "height": 900})
    tab.said, tab.asked = [], []
    tab.on("console", lambda message: tab.said.append(message.text))
    tab.on("pageerror", lambda error: tab.said.append(str(error)))
    tab.on("dialog", lambda dialog: tab.said.append("a dialog opened"))
    tab.on("request", lambda request: None if request.url.startswith((url, "data:", "blob:")) else tab.asked.append(request.url))
    tab.goto(url)
    tab.wait_for_selector("#cr-root h1", timeout=60_000)
    return tab


def shown(browser, tmp_path: Path, run: Path):
    "The page of a run, opened from a file."
    path = tmp_path / "page.html"
    path.write_text(f"<!doctype html><meta charset='utf-8'><link rel='icon' href='data:,'>{page(read_run(run))}", encoding="utf-8")
    return opened(browser, path.as_uri())


def heights(tab) -> list[float]:
    "What the distribution plot draws for the current batch."
    return tab.evaluate("document.getElementById('cr-distribution').data[1].y")


def test_voila_shows_the_run(browser, address):
    tab = opened(browser, address)
    text = tab.inner_text("body")
    assert "Cambio crítico en 1 de 2 variables: Salario." in tab.inner_text("#cr-verdict") and "Qué hacer" in text
    for hidden in ("default_exp", "import ", "assert", "run_dir", "Traceback", "## "):
        assert hidden not in text
    assert tab.said == [] and tab.asked == [] and tab.title() == "Monitoreo de la cartera"
    tab.close()


def test_picker_sorting_filter_and_language(browser, address):
    tab = opened(browser, address)
    before = heights(tab)
    tab.select_option("#cr-picker", "job")
    assert heights(tab) != before and "20" in str(round(heights(tab)[0])) or len(heights(tab)) == 3
    assert tab.get_attribute("#cr-table tr.picked", "data-feature") == "job"
    tab.click("#cr-table tr[data-feature=salary]")
    assert heights(tab) == before and tab.input_value("#cr-picker") == "salary"
    tab.select_option("#cr-metric", "salary")
    assert "Salario" in tab.evaluate("document.getElementById('cr-evolution').data[1].name")
    tab.click("#cr-lang-en")
    assert "Critical change in 1 of 2 variables: Salary." in tab.inner_text("#cr-verdict") and "Qué" not in tab.inner_text("#cr-root") and tab.title() == "Portfolio monitoring"
    tab.click(".tile.VERDE")
    assert tab.locator("#cr-table tbody tr").count() == 1
    tab.click(".tile.VERDE")
    tab.click("#cr-table th button >> text=PSI")
    assert tab.get_attribute("#cr-table tbody tr >> nth=0", "data-feature") == "salary"
    tab.click("#cr-table th button >> text=PSI")
    assert tab.get_attribute("#cr-table tbody tr >> nth=0", "data-feature") == "job"
    assert tab.said == [] and tab.asked == []
    tab.close()


def test_several_viewers_at_once(browser, address):
    tabs = [browser.new_page() for _ in range(3)]
    for tab in tabs:
        tab.goto(address, wait_until="commit")
    for tab in tabs:
        tab.wait_for_selector("#cr-verdict", timeout=60_000)
        tab.close()


def test_nothing_of_the_server_can_be_fetched(browser, address):
    tab = browser.new_page()
    for path in ("voila/files/voila.json", "voila/files/04_monitoring.ipynb", "voila/files/../settings.ini"):
        assert tab.request.get(address + path).status >= 400
    tab.close()


def test_hostile_names_stay_text(browser, tmp_path, run):
    tab = shown(browser, tmp_path, run)
    tab.select_option("#cr-picker", "job")
    tab.wait_for_timeout(200)
    assert tab.locator("#cr-root img").count() == 0 and tab.said == [] and "</script" not in inlined({"level": NASTY})
    tab.close()


def test_a_portfolio_without_date_is_shown(browser, tmp_path, undated):
    tab = shown(browser, tmp_path, undated)
    assert "no tiene fecha" in tab.text_content("#cr-root details") and tab.evaluate("document.getElementById('cr-evolution').data[0].x") == ["current"]
    assert tab.said == []
    tab.close()


@pytest.mark.parametrize("damage", ["nothing", "alerts.json", "latest_drift_metrics.csv", "monitoring_log.csv", "monitoring_detail.json"])
def test_what_is_missing_or_broken_is_said(browser, tmp_path, run, damage):
    folder = tmp_path / "run"
    if damage == "nothing":
        folder.mkdir()
        tab = shown(browser, tmp_path, folder)
        assert "make run" in tab.inner_text(".notice") and tab.locator(".notice").count() == 1
    else:
        shutil.copytree(run, folder)
        (folder / damage).write_bytes((folder / damage).read_bytes()[:40])
        tab = shown(browser, tmp_path, folder)
        assert damage in tab.inner_text(".notice") and tab.locator("h2").count() >= 2
    assert tab.said == []
    tab.close()


def test_page_is_silent_outside_voila(run, monkeypatch):
    for name in ("SERVER_SOFTWARE", "VOILA_APP_PORT"):
        monkeypatch.delenv(name, raising=False)
    assert Page(run)._repr_mimebundle_() == {"text/plain": ""}
    monkeypatch.setenv("VOILA_APP_PORT", "8866")
    assert "cr-root" in Page(run)._repr_mimebundle_()["text/html"]


def test_voila_hides_what_is_for_developers():
    hidden = set(json.loads((NBS / "voila.json").read_text())["TagRemovePreprocessor"]["remove_cell_tags"])
    cells = json.loads((NBS / "04_monitoring.ipynb").read_text(encoding="utf-8"))["cells"]
    left = ["".join(c["source"]) for c in cells if not hidden & set(c["metadata"].get("tags", []))]
    assert left == ["from creditrisk.dashboard import Page\n\nPage()"]


def test_the_command_leaves_the_environment_alone(tmp_path):
    before = dict(os.environ)
    command, environment = voila_command(NBS, tmp_path, 9999)
    assert "--port=9999" in command and environment["CREDITRISK_RUN_DIR"] == str(tmp_path) and dict(os.environ) == before
