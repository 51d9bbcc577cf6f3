"The command line on six toy notebooks: errors, exit codes, resuming, signals, two runs at once."

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from nbformat import v4, write

from creditrisk.pipeline import main
from creditrisk.run import GRAPH
from creditrisk.settings import key_hash, read_settings

PARAMETERS = {
    "00_load": 'data: str = "sample"\nquery: str = ""\nportfolio: str = "pago_atiempo"\nrun_dir: str = "x"\nrate: float = 0.1  # yearly interest',
    "03_training": 'run_dir: str = "x"\ndivisor: int = 1  # of one\nseconds: float = 0.0  # to wait\nplan: list[str] = ["a"]  # of action',
}
CELLS = {
    "00_load": "(folder / 'rejects.csv').write_text(f'row,rule\\n1,{rate}\\n');",
    "03_training": "import time; time.sleep(seconds); 1 / divisor",
    "04_monitoring": "(folder / 'latest_drift_metrics.csv').write_text('feature,type,psi,ks,js,cramers_v,severity\\nincome,money,.3,.2,.1,,ROJO\\n');",
}


def toy(parameters: str, *cells: str):
    notebook = v4.new_notebook(metadata={"kernelspec": {"name": "python3", "display_name": "python3", "language": "python"}})
    notebook.cells = [v4.new_code_cell(parameters, metadata={"tags": ["parameters"]}), *map(v4.new_code_cell, cells)]
    return notebook


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    "A project folder with six toy notebooks."
    (tmp_path / "nbs").mkdir()
    mark = "from pathlib import Path\nimport time\nfolder = Path(run_dir)\nwith (folder / 'order.txt').open('a') as file: print({name!r}, time.time(), file=file)"
    for name in GRAPH:
        write(toy(PARAMETERS.get(name, 'run_dir: str = "x"'), mark.format(name=name), CELLS.get(name, "1")), tmp_path / "nbs" / f"{name}.ipynb")
    monkeypatch.setenv("CREDITRISK_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(*arguments: str) -> int:
    "Exit code of a command, in this process."
    with pytest.raises(SystemExit) as leaving:
        main(list(arguments))
    return leaving.value.code


def executed(run: Path) -> list[str]:
    "Notebooks in the order in which they started."
    return [line.split()[0] for line in (run / "order.txt").read_text().splitlines()]


def folders(home: Path) -> list[Path]:
    return sorted(p for p in (home / "output").glob("*") if p.is_dir() and not p.is_symlink())


def test_a_run_executes_the_graph_and_leaves_a_record(home, capsys):
    assert call("run", "--run-id", "a", "-p", "rate=0.2") == 0
    run = home / "output" / "a"
    order = executed(run)
    assert sorted(order) == sorted(GRAPH)
    assert all(order.index(before) < order.index(name) for name, befores in GRAPH.items() for before in befores)
    assert (home / "output" / "latest").resolve() == run.resolve()
    record = json.loads((run / "run.json").read_text())
    assert record["parameters"]["parameters"] == ["rate=0.2"]
    assert record["artifacts"].keys() == {"rejects.csv", "latest_drift_metrics.csv", "order.txt"}
    assert record["seconds"].keys() == GRAPH.keys()
    assert "0.2" in (run / "rejects.csv").read_text()
    assert not (run / "state.json").exists()
    said = capsys.readouterr().out
    assert "income" in said and "make dashboard" in said
    assert call("run", "--run-id", "a") == 1
    assert "is there already" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["-p", "ratte=0.2"], ["no notebook knows the parameter 'ratte'", "did you mean 'rate'", "yearly interest", "float = 0.1"]),
        (["-p", "rate=high"], ["rate should be float, not 'high'"]),
        (["-p", "divisor=1.5"], ["divisor should be int, not '1.5'"]),
        (["-p", "plan=a,b"], ["plan should be list[str]"]),
        (["-p", "rate"], ["'rate' is not name=value"]),
        (["-p", "run_dir=/tmp/x"], ["run_dir has an option of its own: --run-id"]),
        (["--data", "of_nobody.csv"], ["there is no file", "of_nobody.csv"]),
        (["--portfolio", "of_nobody"], ["of_nobody", "pago_atiempo"]),
        (["--run-id", "../escape"], ["is not a run id"]),
        (["--run-id", "latest"], ["is not a run id"]),
        (["--resume"], ["no run to resume"]),
        (["--resume", "--run-id", "b"], ["b is not there"]),
        (["--no-such-option"], ["No such option"]),
    ],
)
def test_what_is_wrong_is_said_before_anything_runs(home, capsys, arguments, words):
    assert call("run", *arguments) == 1
    said = capsys.readouterr().err
    assert all(word in said for word in words) and "Traceback" not in said
    assert not folders(home)


def test_a_missing_notebook_is_an_error(home, capsys):
    (home / "nbs" / "03_training.ipynb").rename(home / "nbs" / "3_training.ipynb")
    assert call("run") == 1
    assert "03_training.ipynb not found" in capsys.readouterr().err


def test_a_failing_notebook_stops_the_run_and_resume_goes_on(home, capsys):
    assert call("run", "--run-id", "a", "-p", "divisor=0") == 1
    run, said = home / "output" / "a", capsys.readouterr().err
    assert "03_training failed" in said and "ZeroDivisionError" in said and str(run / "03_training.ipynb") in said
    assert "creditrisk run --resume --run-id a" in said and "Traceback" not in said
    assert not (run / "run.json").exists() and not (home / "output" / "latest").exists()
    assert "ZeroDivisionError" in (run / "03_training.ipynb").read_text()
    assert call("run", "--run-id", "a") == 1

    assert call("run", "--resume", "-p", "divisor=1") == 0
    assert executed(run).count("00_load") == 1 and executed(run).count("03_training") == 2
    assert json.loads((run / "run.json").read_text())["parameters"]["parameters"] == ["divisor=1"]
    assert call("run", "--resume", "--run-id", "a") == 1
    assert "complete" in capsys.readouterr().err


def test_resume_repeats_what_a_change_touches(home):
    assert call("run", "--run-id", "a", "-p", "divisor=0") == 1
    (home / "output" / "a" / "rejects.csv").unlink()
    assert call("run", "--resume", "-p", "divisor=1") == 0
    assert executed(home / "output" / "a").count("02_features") == 2


def test_a_data_error_is_told_in_its_words_alone(home, capsys):
    raising = "from creditrisk.load import DataError\nraise DataError('row 3 is blue; expected green')"
    write(toy('run_dir: str = "x"', raising), home / "nbs" / "01_eda.ipynb")
    assert call("run") == 1
    said = capsys.readouterr().err
    assert "01_eda failed: row 3 is blue; expected green\n" in said and "DataError" not in said


def test_a_cell_that_takes_too_long_and_a_kernel_that_dies(home, capsys):
    assert call("run", "-p", "seconds=30", "--timeout", "1") == 1
    assert "longer than 1 s" in capsys.readouterr().err
    write(toy('run_dir: str = "x"', "import os; os._exit(1)"), home / "nbs" / "01_eda.ipynb")
    assert call("run") == 1
    assert "01_eda failed: its kernel died" in capsys.readouterr().err


def test_drift_has_an_exit_code_of_its_own(home):
    assert call("run", "--fail-on-drift") == 2
    assert (home / "output" / "latest" / "run.json").is_file()


def test_a_red_verdict_has_it_even_where_no_feature_drifts(home, capsys):
    said = '{"verdict": "ROJO", "summary": {"en": "The model lost order."}, "advice": {"en": "Retrain."}}'
    calm = "(folder / 'latest_drift_metrics.csv').write_text('feature,severity\\nincome,VERDE\\n')"
    notebook = toy('run_dir: str = "x"', "from pathlib import Path; folder = Path(run_dir)", calm, f"(folder / 'alerts.json').write_text({said!r});")
    write(notebook, home / "nbs" / "04_monitoring.ipynb")
    assert call("run", "--fail-on-drift") == 2
    out = capsys.readouterr().out
    assert "The model lost order." in out and "Retrain." in out


def test_passwords_are_not_written(home, tmp_path):
    assert call("run", "--run-id", "a", "--data", "postgresql://ana:s3cr-t@db/loans", "-p", "divisor=0") == 1
    texts = [p.read_text() for p in (home / "output" / "a").iterdir() if p.is_file()]
    assert texts and not any("s3cr-t" in text for text in texts)
    assert call("run", "--resume", "-p", "divisor=1") == 1


def start(*arguments: str) -> subprocess.Popen:
    "A command in a process of its own."
    command = [sys.executable, "-c", "from creditrisk.pipeline import main; main()", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ.copy())


def wait_for(condition, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_signal_ends_kernels_and_leaves_a_run_to_resume(home, number):
    note = "import os; (folder / 'pid.txt').write_text(str(os.getpid())); time.sleep(seconds)"
    write(toy(PARAMETERS["03_training"], "from pathlib import Path\nimport time\nfolder = Path(run_dir)", note), home / "nbs" / "03_training.ipynb")
    run = home / "output" / "a"
    process = start("run", "--run-id", "a", "-p", "seconds=60")
    wait_for(lambda: (run / "pid.txt").exists() and (run / "pid.txt").read_text())
    kernel = int((run / "pid.txt").read_text())
    assert alive(kernel) and call("run", "--resume", "--run-id", "a") == 1  # it is at work
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert process.returncode == (-9 if number == signal.SIGKILL else 128 + number)
    assert "Traceback" not in err and (number == signal.SIGKILL or "--resume --run-id a" in err)
    wait_for(lambda: not alive(kernel), 10)
    assert not (run / "run.json").exists()
    assert call("run", "--resume", "-p", "seconds=0") == 0
    assert executed(run).count("00_load") == 1 and (run / "run.json").exists()


def test_two_runs_at_once_do_not_disturb_each_other(home):
    both = [start("run", "-p", f"rate={rate}") for rate in (0.25, 0.75)]
    assert [process.wait(90) for process in both] == [0, 0]
    rates = {(run / "rejects.csv").read_text().split(",")[-1].strip() for run in folders(home)}
    assert rates == {"0.25", "0.75"}
    assert all(len(executed(run)) == len(GRAPH) and (run / "run.json").exists() for run in folders(home))
    assert (home / "output" / "latest").resolve() in folders(home)


@pytest.mark.parametrize("command", [["monitor", "new.csv"], ["score", "new.csv", "out.csv"], ["serve"], ["dashboard"], ["report"], ["retrain", "new.csv"], ["recalibrate"]])
def test_the_other_commands_say_what_is_missing(home, capsys, command):
    assert call(*command, "--run", "output/of-nobody") == 1
    said = capsys.readouterr().err
    assert "of-nobody" in said and "Traceback" not in said


def test_monitor_wants_loans_or_a_decision_log(home, capsys):
    (home / "a").mkdir()
    (home / "a" / "run.json").write_text('{"parameters": {"portfolio": "pago_atiempo"}}')
    for given in ([], ["new.csv", "--decisions", "sqlite:///log.db"]):
        assert call("monitor", *given, "--run", "a") == 1
        assert "a file of loans, or --decisions" in capsys.readouterr().err
    assert call("monitor", "--decisions", f"sqlite:///{home}/none.db", "--run", "a") == 1
    assert "none.db" in capsys.readouterr().err and not (home / "none.db").exists()


def test_a_key_is_made_and_fits_its_hash(capsys):
    assert call("key", "bank") == 0
    key, entry = (line.split()[-1] for line in capsys.readouterr().out.splitlines())
    assert read_settings(api_keys=entry).api_keys == {key_hash(key): "bank"}


def test_a_dashboard_that_others_can_reach_wants_a_token(home, capsys):
    (home / "a").mkdir()
    (home / "a" / "run.json").write_text("{}")
    assert call("dashboard", "--run", "a", "--host", "0.0.0.0") == 1
    assert "CREDITRISK_DASHBOARD_TOKEN" in capsys.readouterr().err


def test_help_is_there_and_quick(capsys):
    for command in ([], ["run"], ["monitor"], ["score"], ["serve"], ["dashboard"], ["report"], ["retrain"], ["promote"], ["recalibrate"], ["key"]):
        assert call(*command, "--help") == 0
    heavy = "import sys, creditrisk.pipeline; print([m for m in ('pandas', 'numpy', 'papermill', 'nbformat', 'sklearn') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", heavy], capture_output=True, text=True, check=True).stdout.strip() == "[]"
