"The decision log on SQLite and on a real PostgreSQL server: what is committed, repeated, erased, read back, and what happens while the database is away."

import asyncio
import json
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from creditrisk import decisions as log_module
from creditrisk.decisions import Decision, DecisionError, DecisionLog, Outcome, read_decisions, stream_decisions
from creditrisk.ledger import engine_of, prepare

PDS = [0.1 + 0.2, 5e-324, 1 - 2**-53, 0.047619047619047616]


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path) -> str:
    "An empty database."
    return f"sqlite:///{tmp_path / 'decisions.db'}" if request.param == "sqlite" else request.getfixturevalue("postgres_url")


def decided(name: str, rows: list[dict], columnar: bool = False, **more) -> Decision:
    body = {"columns": {k: [r.get(k) for r in rows] for k in dict.fromkeys(k for r in rows for k in r)}} if columnar else {"data": rows}
    n = len(rows)
    return Decision(name, json.dumps(body).encode(), "v1", "ab" * 32, (PDS * n)[:n], [600 - i for i in range(n)], ["approve"] * n, **more)


def record(log: DecisionLog, *given: Decision, keep: bool = True) -> list:
    "What each was told, all at once."

    async def all_of_them():
        return await asyncio.gather(*(log.record(d, keep) for d in given), return_exceptions=True)

    return asyncio.run(all_of_them())


def query(url: str, statement: str) -> list[tuple]:
    engine = engine_of(url)
    with engine.connect() as connection:
        found = [tuple(line) for line in connection.execute(text(statement))]
    engine.dispose()
    return found


def until(condition, seconds: float = 20) -> None:
    "Wait for what another thread does."
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.02)


def test_what_was_answered_is_read_back_to_the_last_bit(url):
    log = DecisionLog(url, secret="s")
    rows = [{"salario": 1e22, "tipo": "ñ 😀\u0000\"", "plazo": 12}, {"plazo": None}, {}, {"salario": 0.1}]
    first = decided("r1", rows, applicants=["CC 1", None, "CC 2", "CC 1"], shadow="v2", shadow_pd=PDS[::-1])
    assert record(log, first, decided("r2", rows, columnar=True)) == [True, True]
    assert log.close() and log.counts == {"queued": 0, "written": 2, "dropped": 0, "failed": 0}
    found = list(stream_decisions(url))
    assert [d["pd"] for d in found] == PDS * 2 and [d["shadow_pd"] for d in found] == PDS[::-1] + [None] * 4
    assert [d["fields"] for d in found[:4]] == rows
    assert [{k: v for k, v in d["fields"].items() if v is not None} for d in found[4:]] == [{k: v for k, v in r.items() if v is not None} for r in rows]
    assert found[0]["at"] == first.at and found[0]["version"] == "v1" and found[0]["shadow"] == "v2"
    seen = query(url, "select request_id, row_no, pd, score, band, shadow_pd, paid from decisions order by request_id, row_no")
    assert [line[:2] for line in seen] == [(r, i) for r in ("r1", "r2") for i in range(4)]
    assert [line[2] for line in seen] == pytest.approx(PDS * 2, rel=1e-15) and seen[0][3:] == (600, "approve", pytest.approx(PDS[3]), None)
    assert query(url, "select count(distinct applicant), count(applicant) from decisions") == [(2, 3)]


def test_applicants_keys_are_stored_only_as_keyed_hashes(url):
    log = DecisionLog(url, secret="s")
    record(log, decided("r1", [{"plazo": 1, "applicant": "CC 1020"}], applicants=["CC 1020"]))
    record(log, decided("r2", [{"plazo": 1, "applicant": "CC 1020"}] * 2, columnar=True, applicants=["CC 1020", "CC 9"]))
    log.close()
    everything = str([query(url, f"select * from {t}") for t in ("decision_requests", "decision_applicants", "decisions")])
    assert "CC 1020" not in everything and "applicant" not in everything and '"plazo"' in everything
    plain = DecisionLog(url)
    with pytest.raises(DecisionError, match="no secret"):
        plain.put(decided("r3", [{}], applicants=["CC 1"]))
    with pytest.raises(DecisionError, match="no secret"):
        plain.forget("CC 1")
    plain.close()


def test_an_applicant_is_forgotten_and_the_neighbours_are_not(url):
    log = DecisionLog(url, secret="s")
    record(log, decided("r1", [{"salario": 123456789}, {"salario": 2}, {"salario": 3}], applicants=["CC 1", "CC 2", "CC 1"]), decided("r2", [{"salario": 123456789}], applicants=["CC 1"]))
    log.outcomes([Outcome("r1", 0, True), Outcome("r1", 1, False)])
    assert log.forget("CC 3") == 0 and log.forget(" CC 1 ") == 3 and log.forget("CC 1") == 0
    assert [(d["request_id"], d["row"], d["fields"], d["paid"]) for d in stream_decisions(url)] == [("r1", 1, {"salario": 2}, 0)]
    assert query(url, "select request_id, row_no from decisions") == [("r1", 1)]
    assert query(url, "select row_no from decision_outcomes") == [(1,)]
    assert log.outcomes([Outcome("r1", 0, True), Outcome("r2", 0, True)]) == ["unknown", "unknown"]
    assert log.forget("CC 2") == 1 and query(url, "select count(*) from decision_requests") == [(0,)]
    log.close()
    if url.startswith("sqlite"):
        files = Path(url.removeprefix("sqlite:///")).parent.iterdir()
        assert not any(b"123456789" in file.read_bytes() for file in files)


def test_a_decision_that_waits_is_not_forgotten_before_it_is_written(url, monkeypatch):
    monkeypatch.setattr(log_module, "PATIENCE", 0.3)
    log, really, hold = DecisionLog(url, secret="s"), log_module.write, threading.Event()
    until(lambda: log.ready() is None)
    monkeypatch.setattr(log_module, "write", lambda *given: hold.wait(30) and really(*given))
    assert log.put(decided("r1", [{}], applicants=["CC 1"])) and log.put(decided("r2", [{}, {}], applicants=["CC 2", " CC 1"]))
    with pytest.raises(DecisionError, match="wait to be written"):
        log.forget("CC 1 ")
    assert log.forget("CC 3") == 0
    monkeypatch.setattr(log_module, "PATIENCE", 20)
    threading.Timer(0.2, hold.set).start()
    assert log.forget("CC 1") == 2 and log.close()
    assert [d["request_id"] for d in stream_decisions(url)] == ["r2"]


def test_outcomes_are_idempotent_and_a_change_keeps_its_history(url):
    log = DecisionLog(url)
    record(log, decided("r1", [{}] * 3), decided("r2", [{}]))
    first = [Outcome("r1", 0, True), Outcome("r1", 2, False, datetime(2026, 1, 31, tzinfo=UTC)), Outcome("r2", 0, True)]
    assert log.outcomes(first) == ["recorded"] * 3 and log.outcomes(first) == ["same"] * 3
    assert log.outcomes([Outcome("r1", 0, False), Outcome("r1", 3, True), Outcome("r1", -1, True), Outcome("r9", 0, True), Outcome("r1", 0, False)]) == ["changed", "unknown", "unknown", "unknown", "same"]
    assert [d["paid"] for d in stream_decisions(url)] == [0, None, 0, 1]
    assert query(url, "select paid from decision_outcomes where request_id = 'r1' and row_no = 0 order by id") == [(1,), (0,)]
    assert query(url, "select row_no, paid from decisions where request_id = 'r1' order by row_no") == [(0, 0), (1, None), (2, 0)]
    log.close()


def test_a_period_is_in_utc_and_said_in_words_where_it_is_none(url):
    log = DecisionLog(url)
    record(log, decided("r1", [{}], at=datetime(2026, 1, 31, 23, tzinfo=UTC)))
    log.close()
    assert [len(list(stream_decisions(url, since=since))) for since in ("2026-01-31", "2026-01-31T19:00:00-05:00", "2026-01-31T17:00:00-05:00")] == [1, 0, 1]
    with pytest.raises(DecisionError, match="'ayer' is not a day"):
        list(stream_decisions(url, since="ayer"))


def test_what_is_older_than_allowed_expires(url):
    old = datetime.now(UTC) - timedelta(days=31)
    keeper = DecisionLog(url)
    record(keeper, *(decided(f"old{i}", [{"salario": 987654321}], at=old) for i in range(3)), decided("new", [{}]))
    keeper.outcomes([Outcome("old1", 0, True), Outcome("new", 0, True)])
    assert keeper.expire() == 0 and keeper.close()
    log = DecisionLog(url, keep_days=30)
    until(lambda: query(url, "select request_id from decision_requests") == [("new",)])  # the writer does it by itself
    if url.startswith("sqlite"):
        files = list(Path(url.removeprefix("sqlite:///")).parent.iterdir())
        until(lambda: not any(b"987654321" in file.read_bytes() for file in files))
    assert query(url, "select request_id from decision_outcomes") == [("new",)] and log.expire() == 0 and log.close()


def test_a_repeated_request_is_stored_once_and_another_under_its_name_is_refused(url):
    log = DecisionLog(url)
    told = record(log, decided("r1", [{"a": 1}]), decided("r1", [{"a": 1.0}]), decided("r2", [{"a": 2}]), decided("r1", [{"a": 3}]))
    assert told[:3] == [True] * 3 and isinstance(told[3], DecisionError)
    assert [d["fields"]["a"] for d in stream_decisions(url)] == [1, 2] and log.close()


def test_a_damaged_decision_is_dropped_alone(url):
    log, damaged = DecisionLog(url), decided("r2", [{}])
    damaged.body = b'{"data": [{}, {}]}'  # not as many rows as decisions
    long = decided("r" * 65 if url.startswith("postgresql") else "r5", [{}])
    told = record(log, decided("r1", [{}]), damaged, decided("r3", [{}]), long, decided("r4", [{}]))
    assert told == [True, False, True, not url.startswith("postgresql"), True]
    assert log.ready() is None and log.close()


def test_the_neighbours_of_a_damaged_decision_are_all_accounted_for_when_the_database_goes_away(tmp_path, monkeypatch):
    from sqlalchemy.exc import OperationalError

    log, really, hold = DecisionLog(f"sqlite:///{tmp_path / 'd.db'}"), log_module.write, threading.Event()
    until(lambda: log.ready() is None)

    def write(connection, decisions, secret):
        if len(decisions) > 1:
            raise ValueError("one of them is damaged")
        if decisions[0].request_id == "r1" and not hold.is_set():
            raise OperationalError("", {}, OSError("away"))
        return really(connection, decisions, secret)

    monkeypatch.setattr(log_module, "write", write)

    async def mixed():
        keep = [True, True, False, True, False]
        return await asyncio.gather(*(log.record(decided(f"r{i}", [{}]), k) for i, k in enumerate(keep)))

    assert asyncio.run(mixed()) == [True, False, False, False, False]
    assert log.counts["dropped"] == 2 and "can't be used" in log.ready()
    hold.set()
    until(lambda: log.counts["written"] == 3)
    assert log.close() and log.counts["dropped"] == 2 and log.line.size == 0
    assert {d["request_id"] for d in stream_decisions(f"sqlite:///{tmp_path / 'd.db'}")} == {"r0", "r1", "r3"}


def test_processes_that_open_a_log_at_once_make_its_tables_once(url):
    engines = [engine_of(url) for _ in range(6)]
    errors: list[Exception] = []

    def work(engine):
        try:
            prepare(engine)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=[engine]) for engine in engines]
    for step in (threading.Thread.start, threading.Thread.join):
        for thread in threads:
            step(thread)
    assert not errors and query(url, "select version from decision_schema") == [(1,)]
    for engine in engines:
        engine.dispose()


def test_a_log_of_another_version_is_left_alone(url):
    DecisionLog(url).close()
    engine = engine_of(url)
    prepare(engine)
    with engine.begin() as connection:
        connection.execute(text("update decision_schema set version = 99"))
    engine.dispose()
    log = DecisionLog(url)
    until(lambda: "schema 99" in (log.ready() or ""))
    assert record(log, decided("r1", [{}]), keep=False) == [False] and record(log, decided("r2", [{}])) == [False]
    assert not log.close(timeout=5) or log.counts["written"] == 0


def test_a_line_is_bounded_and_says_so(url, monkeypatch):
    monkeypatch.setattr(log_module, "PATIENCE", 0.2)
    hold = threading.Event()
    monkeypatch.setattr(DecisionLog, "_step", lambda self: hold.wait(30) and None)
    log = DecisionLog(url, capacity=3)
    assert [log.put(decided(f"p{i}", [{}])) for i in range(4)] == [True, True, True, False]
    assert record(log, decided("r1", [{}])) == [False] and log.counts == {"queued": 3, "written": 0, "dropped": 2, "failed": 0}
    monkeypatch.undo()
    hold.set()
    assert log.close() and log.counts["written"] == 3
    assert not log.put(decided("late", [{}])) and log.ready() == "the decision log is closed"


def test_big_bodies_in_line_are_bounded_by_their_bytes(url, monkeypatch):
    monkeypatch.setattr(log_module, "MAX_BYTES", 1000)
    hold = threading.Event()
    monkeypatch.setattr(DecisionLog, "_step", lambda self: hold.wait(30) and None)
    log = DecisionLog(url)
    big = [{"text": "x" * 400}]
    assert [log.put(decided(f"p{i}", big)) for i in range(3)] == [True, True, False]
    hold.set()
    monkeypatch.undo()
    assert log.close() and log.line.size == 0


def test_a_database_that_comes_late_or_goes_away_loses_nothing_that_was_kept(postgres_server, postgres_url):
    import psycopg

    server, name = postgres_url.rpartition("/")[0], postgres_url.rpartition("/")[2]
    with psycopg.connect(postgres_server, autocommit=True) as admin:
        admin.execute(f"alter database {name} rename to away")
        log = DecisionLog(f"{server.replace('creditrisk@', 'creditrisk:hush@')}/{name}")
        until(lambda: log.reason)
        assert record(log, decided("kept", [{}])) == [False] and record(log, decided("refused", [{}]), keep=False) == [False]
        assert log.ready() == log_module.AWAY
        admin.execute(f"alter database away rename to {name}")
        until(lambda: log.ready() is None and log.counts["written"] == 1)
        for i in range(3):
            admin.execute(f"select pg_terminate_backend(pid) from pg_stat_activity where datname = '{name}'")
            record(log, decided(f"cut{i}", [{}]))
        until(lambda: log.counts["written"] == 4)
    assert log.ready() is None and record(log, decided("last", [{}])) == [True] and log.close()
    assert {d["request_id"] for d in stream_decisions(postgres_url)} == {"kept", "cut0", "cut1", "cut2", "last"}


def test_decisions_come_back_as_the_portfolio_has_them(url, tmp_path):
    pd = pytest.importorskip("pandas")
    from creditrisk.load import Portfolio, clean, read_loans, sample_loans

    portfolio = Portfolio.load("pago_atiempo")
    given = [c.name for c in portfolio.columns.values() if c.known == "application" and c.name != portfolio.date]
    raw = sample_loans(300)
    rows = json.loads(raw[given].to_json(orient="records", double_precision=15))
    log = DecisionLog(url)
    at = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
    record(log, *(decided(f"r{i:03}", rows[i : i + 100], columnar=i == 100, at=at + timedelta(days=i)) for i in range(0, 300, 100)))
    assert log.outcomes([Outcome("r000", 0, False), Outcome("r200", 99, True)]) == ["recorded"] * 2 and log.close()
    frame = read_decisions(url, portfolio)
    assert len(frame) == 300 and frame["decision_pd"].tolist() == PDS * 75
    assert frame.loc[frame[portfolio.target].notna(), portfolio.target].to_dict() == {0: "0", 299: "1"}
    assert frame[portfolio.date].dt.date.nunique() == 3 and frame["decided_at"].iloc[0] == pd.Timestamp("2026-03-04 05:06:07")
    frame.drop(columns=[c for c in frame if c not in portfolio.columns]).to_parquet(tmp_path / "back.parquet")
    believed, _ = clean(read_loans(tmp_path / "back.parquet", portfolio, labelled=False), portfolio, labelled=False, as_of=pd.Timestamp("2027-01-01"))
    expected, _ = clean(raw[given].assign(**{portfolio.date: frame[portfolio.date], portfolio.target: frame[portfolio.target]})[list(frame.columns.intersection(raw.columns))], portfolio, labelled=False, as_of=pd.Timestamp("2027-01-01"))
    pd.testing.assert_frame_equal(believed[given], expected[given], check_dtype=False)
    assert len(read_decisions(url, since="2026-05-01", until=datetime(2026, 7, 1))) == 100
    with pytest.raises(DecisionError, match="no decisions from 2030"):
        read_decisions(url, since="2030-01-01")


def test_a_log_that_is_not_there_is_said_to_be(tmp_path, postgres_url):
    for wrong in (f"sqlite:///{tmp_path / 'none.db'}", postgres_url, "postgresql://u:hush@127.0.0.1:1/x"):
        with pytest.raises(DecisionError) as said:
            next(stream_decisions(wrong))
        assert "hush" not in str(said.value)
