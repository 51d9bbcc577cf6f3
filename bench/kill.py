"""Kill the server with signal 9 under load, start it again, and look for every decision that was answered in the decision log.

    python bench/kill.py --seconds 60 --kills 3 [--run output/latest] [--url postgresql://...]
"""

import argparse
import http.client
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from creditrisk.decisions import stream_decisions
from creditrisk.scorer import run_path

CLIENTS = 8


def start(run: Path, url: str, port: int) -> subprocess.Popen:
    "A server that is ready."
    environment = os.environ | {"CREDITRISK_RUN_DIR": str(run), "CREDITRISK_DECISIONS_URL": url, "CREDITRISK_ON_FULL": "refuse", "CREDITRISK_RATE_LIMIT": "0"}
    command = [sys.executable, "-m", "uvicorn", "creditrisk.deploy:app", "--port", str(port), "--log-level", "error", "--no-access-log"]
    server = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 60
    while time.monotonic() < end and server.poll() is None:
        try:
            if ask(http.client.HTTPConnection("127.0.0.1", port, timeout=5), "GET", "/ready")[0] == 200:
                return server
        except OSError:
            pass
        time.sleep(0.1)
    server.kill()
    raise SystemExit("the server did not become ready")


def ask(connection: http.client.HTTPConnection, method: str, path: str, content=None, **headers) -> tuple[int, dict]:
    "Status and answer, read to its end."
    connection.request(method, path, body=None if content is None else json.dumps(content), headers=headers)
    answer = connection.getresponse()
    body = answer.read()
    return answer.status, json.loads(body or b"{}")


def client(number: int, port: int, rows: list[dict], stop: threading.Event, answered: dict[str, list[float]]) -> None:
    "Ask until told to stop, and remember what was answered."
    choose, asked, connection = random.Random(number), 0, None
    while not stop.is_set():
        connection = connection or http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        asked += 1
        name = f"client{number}-{asked}"
        some = [choose.choice(rows) for _ in range(choose.choice([1] * 9 + [100]))]
        try:
            status, content = ask(connection, "POST", "/predict", {"data": some}, **{"X-Request-ID": name, "Content-Type": "application/json"})
        except (OSError, http.client.HTTPException, ValueError):  # killed: whether it was decided is not known here
            connection = connection.close()
            time.sleep(0.05)
            continue
        if status == 200:
            answered[name] = content["pd"]


def trial(run: Path, url: str, seconds: float, kills: int) -> dict[str, int]:
    "Answered requests, how many of them the log lacks or has otherwise, and what it has besides."
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    rows = [golden["row"] for golden in json.loads((run / "scorecard.json").read_text(encoding="utf-8"))["golden"]]
    answered, stop = {}, threading.Event()
    server = start(run, url, port)
    clients = [threading.Thread(target=client, args=[i, port, rows, stop, answered]) for i in range(CLIENTS)]
    for each in clients:
        each.start()
    try:
        for _ in range(kills):
            time.sleep(seconds / (kills + 1) * random.uniform(0.8, 1.0))
            server.kill()
            server.wait()
            server = start(run, url, port)
        time.sleep(seconds / (kills + 1))
    finally:
        stop.set()
        for each in clients:
            each.join()
        server.kill()  # the end is a kill too
        server.wait()
    logged: dict[str, list[float]] = {}
    for decision in stream_decisions(url):
        logged.setdefault(decision["request_id"], []).append(decision["pd"])
    lost = sum(logged.get(name) != pds for name, pds in answered.items())
    return {"answered": len(answered), "decisions": sum(map(len, answered.values())), "lost": lost, "logged_not_answered": len(logged.keys() - answered.keys()), "kills": kills + 1}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--run", default="output/latest")
    parser.add_argument("--url", help="of an empty database; by default a SQLite file in a temporary folder")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = trial(run_path(given.run), given.url or f"sqlite:///{folder}/decisions.db", given.seconds, given.kills)
    print(json.dumps(found))
    sys.exit(1 if found["lost"] or not found["answered"] else 0)
