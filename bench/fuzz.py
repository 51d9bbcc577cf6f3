"""Mutated bodies against the API: python bench/fuzz.py [--bodies 20000] [--server 2000] [--seed 0] [--run output/latest].

Good bodies, in rows and in columns, are damaged (bytes, keys, values, nesting, sizes) and sent to the ASGI app, some also to a real server. Nothing may be answered
with a 5xx, nothing may take more than 10 seconds, and what is scored must have the PD that the scorer gives the same rows by another way.
Then schemathesis, where it is installed, makes requests of its own from the OpenAPI document."""

import argparse
import asyncio
import json
import random
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from creditrisk.deploy import Scorer, create_app

SECONDS = 10.0  # that one body may take
ODD = [None, True, False, 0, -1, 1, 7, -7, 40, 121, 1.5, -0.0, 1e-320, 1e22, 1e308, 2**53, 2**63, 10**30, "", " ", "4", "4.0", "Empleado", "Estable", "8315", "n/a", "NaN", "á:\"\\{", "x" * 300, [], {}, [1], {"a": 1}, "2025-01-01", "2999-01-01"]
RAW = [b"NaN", b"Infinity", b"-Infinity", b"1e400", b"-1e400", b"9" * 400, b"0x10", b"01", b"1.", b"+1", b"'a'", b"\xff", b"\x00", b"\\u0000", b'"\\ud800"', b"[" * 300, b'{"a":' * 300, b"nul", b"tru", b"\xef\xbb\xbf", b",", b":", b"}", b"]", b'"', b"\\"]


@dataclass
class Found:
    "What the bodies came to."

    statuses: Counter = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)  # in words, with the body's start
    slowest: float = 0.0  # seconds

    def note(self, status: int, seconds: float, body: bytes, apart: str | None = None) -> None:
        self.statuses[status] += 1
        self.slowest = max(self.slowest, seconds)
        why = f"status {status}" if status >= 500 else f"{seconds:.1f} s" if seconds > SECONDS else apart
        if why:
            self.wrong.append(f"{why}: {body[:300]!r}")


class Mutator:
    "Makes bodies, good ones and damaged ones."

    def __init__(self, scorer: Scorer, seed: int):
        self.draw, self.scorer = random.Random(seed), scorer
        self.rows = [{k: v for k, v in g["row"].items() if v is not None and k in scorer.fields} for g in scorer.card["golden"]]
        self.names = [*scorer.fields, *scorer.forbidden, "applicant", "nada", ""]

    def good(self) -> dict:
        "A body that may well be scored."
        rows = [dict(self.draw.choice(self.rows)) for _ in range(self.draw.choice([1, 1, 1, 2, 5, 40]))]
        for row in rows:
            for name in self.draw.sample([*row], self.draw.randrange(4) if len(row) > 4 else 0):
                del row[name]
        if self.draw.random() < 0.7:
            return {"data": rows}
        return {"columns": {name: [row.get(name) for row in rows] for name in self.scorer.fields}}

    def _value(self, body: dict) -> None:
        "Another value, another key, or a key less, somewhere."
        inside = body.get("data") or [body.get("columns")]
        row = self.draw.choice(inside) if isinstance(inside, list) and inside else None
        if isinstance(row, dict):
            row[self.draw.choice(self.names)] = self.draw.choice(ODD) if "data" in body or self.draw.random() < 0.3 else [self.draw.choice(ODD) for _ in range(self.draw.randrange(4))]

    def _shape(self, body: dict):
        "Another shape."
        return self.draw.choice([[body], body.get("data"), body | {"data": []}, body | {"more": 1}, {"data": body}, {"data": [body]}, {"columns": body.get("data")}, {"data": [[]]}, {"data": [None]}, {"columns": {}}, {}, [], 1, "a", None])

    def body(self) -> bytes:
        "One body."
        body = self.good()
        for _ in range(self.draw.choice([0, 1, 1, 2])):
            self._value(body)
        if self.draw.random() < 0.08:
            body = self._shape(body)
        text = json.dumps(body, ensure_ascii=self.draw.random() < 0.3, separators=self.draw.choice([(", ", ": "), (",", ":"), (" ,\n", "\t: ")])).encode("utf-8", "surrogatepass")
        for _ in range(self.draw.choice([0, 0, 0, 1, 1, 3])):
            text = self._bytes(text)
        return text

    def _bytes(self, text: bytes) -> bytes:
        "A few bytes cut, put in, changed, doubled."
        i, j = sorted(self.draw.choices(range(len(text) + 1), k=2))
        j = min(j, i + self.draw.choice([1, 2, 20, 200]))
        new = self.draw.choice([b"", b"", self.draw.choice(RAW), self.draw.randbytes(self.draw.randrange(1, 4)), text[i:j] * 2, b'"edad_cliente": 40, ' if self.draw.random() < 0.5 else text[i:j][::-1]])
        return text[:i] + new + text[j:]


def apart(scorer: Scorer, body: bytes, answered: dict) -> str | None:
    "Whether what was scored has another PD by another way, in words."
    given = json.loads(body)
    rows = given.get("data") or [dict(zip(given["columns"], values, strict=True)) for values in zip(*given["columns"].values(), strict=True)]
    return None if answered["pd"] == scorer.pds(rows) else "another PD than the scorer's"


async def ask(app, body: bytes, draw: random.Random) -> tuple[int, bytes]:
    "Ask an ASGI app, the body in one part or several."
    cuts = sorted({0, len(body), *(draw.randrange(len(body) + 1) for _ in range(draw.choice([0, 0, 3])))})
    parts = [body[i:j] for i, j in zip(cuts, cuts[1:], strict=False)] or [b""]
    coming = [{"type": "http.request", "body": part, "more_body": i < len(parts)} for i, part in enumerate(parts, 1)]
    sent: list[dict] = []

    async def receive():
        return coming.pop(0) if coming else {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "path": "/predict", "method": "POST", "query_string": draw.choice([b"", b"", b"explain=3", b"lang=en", b"explain=-1", b"a=%ff&b"]), "headers": [], "server": ("127.0.0.1", 1), "root_path": ""}
    await asyncio.wait_for(app(scope, receive, send), 60)
    return sent[0]["status"], b"".join(m.get("body", b"") for m in sent[1:])


def fuzz_app(run: str | Path, n: int, seed: int = 0) -> Found:
    "Mutated bodies against the app, without a server."
    scorer, found = Scorer.load(run), Found()
    mutator, app = Mutator(scorer, seed), create_app(run)

    async def all_of_them() -> None:
        for _ in range(n):
            body, start = mutator.body(), time.perf_counter()
            status, answered = await ask(app, body, mutator.draw)
            seconds = time.perf_counter() - start
            found.note(status, seconds, body, apart(scorer, body, json.loads(answered)) if status == 200 else None)

    asyncio.run(all_of_them())
    return found


def fuzz_server(run: str | Path, n: int, seed: int = 1) -> Found:
    "Mutated bodies over a real connection."
    from http.client import HTTPConnection, HTTPException

    from serving import Server, started

    scorer, found = Scorer.load(run), Found()
    folder = Path(run).resolve()
    good = json.dumps({"data": [scorer.card["golden"][0]["row"]]}).encode()
    server = Server("ours", [sys.executable, "-c", "from creditrisk.deploy import serve; serve()"], extra={"CREDITRISK_RUN_DIR": str(folder)})
    process, url, _ = started(server, folder, good)
    try:
        mutator, address = Mutator(scorer, seed), url.split("/")[2]
        connection = HTTPConnection(address, timeout=60)
        for _ in range(n):
            body, start = mutator.body(), time.perf_counter()
            try:
                connection.request("POST", "/predict", body if mutator.draw.random() < 0.8 else iter([body[:50], body[50:]]), {"Content-Type": "application/json"})
                with connection.getresponse() as response:
                    status, answered = response.status, response.read()
            except (HTTPException, ConnectionError) as error:
                found.wrong.append(f"{type(error).__name__}: {body[:300]!r}")
                connection.close()
                continue
            found.note(status, time.perf_counter() - start, body, apart(scorer, body, json.loads(answered)) if status == 200 else None)
        connection.close()
    finally:
        process.terminate()
        process.wait(60)
    return found


def fuzz_schema(run: str | Path, examples: int) -> list[str]:  # what was wrong, in words
    """Requests that schemathesis makes from the OpenAPI document. JSON Schema can't say that a row must have one of some fields, that lists are of one length,
    or between which days a date must be: refusals for that alone are right."""
    import schemathesis
    from hypothesis import HealthCheck, Phase, given, settings
    from schemathesis.core.failures import FailureGroup
    from schemathesis.openapi.checks import RejectedPositiveData

    scorer = Scorer.load(run)
    schema, wrong = schemathesis.openapi.from_asgi("/openapi.json", create_app(scorer)), []
    dates = {(f.name, "range") for f in scorer.fields.values() if f.type == "date"} | {("observed_at", "value")}
    options = settings(max_examples=examples, deadline=None, database=None, derandomize=True, phases=[Phase.generate], suppress_health_check=[*HealthCheck])

    def check(case) -> None:
        try:
            case.call_and_validate()
        except FailureGroup as group:
            faults = case.call().json().get("errors", [])
            unsaid = any(f["code"] in ("empty", "length") or (f["field"], f["code"]) in dates for f in faults)
            wrong.extend(f"{case.method} {case.path}: {error}" for error in group.exceptions if not (unsaid and isinstance(error, RejectedPositiveData)))

    for operation in schema.get_all_operations():
        options(given(case=operation.ok().as_strategy())(check))()
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--bodies", type=int, default=20_000, help="for the app")
    parser.add_argument("--server", type=int, default=2_000, help="for a real server")
    parser.add_argument("--examples", type=int, default=100, help="of schemathesis, an operation")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--run", default="output/latest", help="folder of a run")
    options = parser.parse_args()
    found = {"app": fuzz_app(options.run, options.bodies, options.seed), "server": fuzz_server(options.run, options.server, options.seed + 1)}
    for name, result in found.items():
        print(f"{name}: {sum(result.statuses.values()):,} bodies, slowest {result.slowest:.2f} s, {dict(sorted(result.statuses.items()))}")
    wrong = [*(w for result in found.values() for w in result.wrong), *fuzz_schema(options.run, options.examples)]
    print("\n".join(wrong[:20]) or "nothing wrong")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
