"What several test files share."

import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from secrets import token_hex

import pytest

# few loans and little cross-validation: enough to pass through every chapter
SMALL = ["rows=2000", "folds=3", "repeats=1"]


@pytest.fixture(scope="session")
def small_run(tmp_path_factory) -> Path:
    "The folder of a whole run on 2,000 loans of the embedded portfolio."
    from creditrisk.run import run_pipeline

    return run_pipeline(parameters=SMALL, run_id="small", output=tmp_path_factory.mktemp("output"))


POSTGRES = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: int(p.parent.name))  # where Debian puts the server


@pytest.fixture(scope="session")
def postgres_server():
    "The URL of a PostgreSQL server's maintenance database; a throw-away cluster on the loopback, run by another user where this one is root."
    binaries = POSTGRES[-1] if POSTGRES else Path(shutil.which("initdb") or "/nowhere/initdb").parent
    if not (binaries / "initdb").is_file():
        pytest.skip("there is no PostgreSQL server: apt-get install postgresql")
    user = {"user": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}
    folder = Path(tempfile.mkdtemp(prefix="creditrisk-postgres-"))
    if user:
        shutil.chown(folder, "postgres", "postgres")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"

    def call(program: str, *arguments: str, check: bool = True):
        with (folder / "log").open("a") as log:
            return subprocess.run([binaries / program, *arguments], cwd=folder, check=check, stdout=log, stderr=log, timeout=60, **user)

    try:
        call("initdb", "-D", "data", "-U", "creditrisk", "-A", "trust", "--no-sync")
        call("pg_ctl", "-D", "data", "-o", options, "-w", "start")
        yield f"postgresql://creditrisk@127.0.0.1:{port}/postgres"
    finally:
        call("pg_ctl", "-D", "data", "-m", "immediate", "-w", "stop", check=False)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgres_url(postgres_server) -> str:
    "The URL of an empty database of a real PostgreSQL server."
    import psycopg

    name = f"t{token_hex(6)}"
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f"create database {name}")
    return postgres_server.rpartition("/")[0] + f"/{name}"
