"A server that is killed with signal 9 under load has lost no decision that it answered."

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_every_answered_decision_is_in_the_log_after_kill_9(database, small_run, request, tmp_path):
    url = f"sqlite:///{tmp_path / 'decisions.db'}" if database == "sqlite" else request.getfixturevalue("postgres_url")
    command = [sys.executable, ROOT / "bench" / "kill.py", "--seconds", "3", "--kills", "1", "--run", small_run, "--url", url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert found["answered"] > 10 and found["lost"] == 0 and found["kills"] == 2  # the end is one too
