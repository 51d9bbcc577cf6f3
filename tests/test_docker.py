"The images, as far as they can be checked without an engine: hadolint, what the compose file asks for, and the packages of the server in an environment of its own."

import json
import os
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
HEAVY = re.compile(r"jupyter|ipykernel|ipython|notebook|voila|papermill|nbconvert|nbformat|pandas|pyarrow|scipy|scikit|xgboost|matplotlib|seaborn|plotly|nvidia|cuda|torch|pytest|nbdev")


def test_hadolint_finds_nothing():
    hadolint = shutil.which("hadolint", path=f"{BIN}{os.pathsep}{os.environ['PATH']}")
    if not hadolint:
        pytest.skip("hadolint is not installed: it comes with the extra dev")
    done = subprocess.run([hadolint, "--failure-threshold", "style", ROOT / "Dockerfile"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_images_are_pinned_and_run_as_nobody_in_particular():
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert all(re.search(r":\d+\.\d+\.\d+-", image) for image in re.findall(r"^FROM (\S+:\S+)", text, re.M))
    for name in ("api", "dashboard"):
        stage = text.partition(f" AS {name}\n")[2].partition("\nFROM")[0]
        assert "USER 10001" in stage and "HEALTHCHECK" in stage and "\nRUN" not in stage
    assert "nbs" not in text.partition(" AS api\n")[2]
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in lines and not any(re.match(r"!(output|tests|bench|\.git|\.env)", line) for line in lines)


def test_the_compose_file_holds_no_secret_and_drops_what_is_not_needed():
    yaml = pytest.importorskip("yaml")
    services = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))["services"]
    secret = {k: v for s in services.values() for k, v in s["environment"].items() if re.search("PASSWORD|SECRET|KEYS|TOKEN", k)}
    assert len(secret) >= 5 and all(re.fullmatch(r"\$\{\w+:\?[^}]+\}", v) for v in secret.values())
    for name in ("api", "dashboard"):
        assert services[name]["read_only"] and services[name]["cap_drop"] == ["ALL"] and services[name]["volumes"] == ["./output:/output:ro"]
        assert all(port.startswith("127.0.0.1:") for port in services[name]["ports"])
    assert "ports" not in services["postgres"]


def test_every_setting_of_the_compose_file_is_one(monkeypatch):
    yaml = pytest.importorskip("yaml")
    from creditrisk.settings import Settings

    given = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))["services"]["api"]["environment"]
    named = {name.removeprefix("CREDITRISK_").lower() for name in given if name.startswith("CREDITRISK_")}
    named |= {name.lower() for name in re.findall(r"CREDITRISK_(\w+)=", (ROOT / "Dockerfile").read_text(encoding="utf-8").partition(" AS api\n")[2]) if name != "HOME"}
    assert named <= set(Settings.model_fields)


def test_the_server_needs_neither_notebooks_nor_pandas(tmp_path):
    uv = shutil.which("uv", path=f"{BIN}{os.pathsep}{os.environ['PATH']}")
    if not uv:
        pytest.skip("uv is not installed")
    for name in ("settings.ini", "setup.py", "constraints.txt", "README.md"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "creditrisk", tmp_path / "creditrisk", ignore=shutil.ignore_patterns("__pycache__"))
    venv.create(tmp_path / "venv", symlinks=True)
    python = tmp_path / "venv" / "bin" / "python"
    made = subprocess.run([uv, "pip", "install", "-q", "--python", python, "-c", "constraints.txt", ".[serve]"], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    if made.returncode and re.search("fetch|connect|network|dns|timed out", made.stderr, re.I):
        pytest.skip("the package index can't be reached")
    assert made.returncode == 0, made.stderr
    listed = json.loads(subprocess.run([uv, "pip", "list", "--python", python, "--format", "json"], capture_output=True, text=True, check=True, timeout=60).stdout)
    assert {"fastapi", "sqlalchemy", "psycopg-binary"} <= {p["name"] for p in listed} and not [p["name"] for p in listed if HEAVY.search(p["name"])]
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("CREDITRISK_", "PYTHON"))} | {"CREDITRISK_HOME": str(tmp_path)}
    said = subprocess.run([python.with_name("creditrisk"), "serve"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    assert said.returncode == 1 and "scorecard.json is not there" in said.stderr and "Traceback" not in said.stderr
