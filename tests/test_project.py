"What holds for the project as a whole: one way of imports, notebooks that papermill can parametrise, no column known by name."

import ast
import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted(p for p in (ROOT / "nbs").glob("*.ipynb") if re.match(r"\d\d", p.name))
MODULES = sorted(p for p in (ROOT / "creditrisk").glob("*.py") if p.name not in ("__init__.py", "_modidx.py"))


def cells(notebook: Path, kind: str = "code") -> list[dict]:
    return [cell for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == kind]


def source(cell: dict) -> str:
    return "".join(cell["source"])


def module_of(notebook: Path) -> str:
    "The module that a notebook is exported to."
    return next(re.search(r"#\| default_exp (\w+)", source(cell))[1] for cell in cells(notebook) if "#| default_exp" in source(cell))


def place(notebook: Path) -> tuple[str, str]:
    "Where a notebook stands in the order of imports: a chapter's second notebooks (04a, 04b) come before the chapter (04)."
    number, letter = re.match(r"(\d\d)([a-z]?)", notebook.name).groups()
    return number, letter or "~"


def imported(module: Path) -> set[str]:
    "Names of the project's modules that a module imports, anywhere in it."
    found = set()
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.level == 1 or (node.module or "").split(".")[0] == "creditrisk"):
            path = (node.module or "").removeprefix("creditrisk").strip(".")
            found |= {path.split(".")[0]} if path else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("creditrisk.")}
    return found


def test_every_module_comes_from_a_notebook():
    assert sorted(map(module_of, NOTEBOOKS)) == [m.stem for m in MODULES]


def test_imports_go_one_way():
    "Chapters import earlier ones only; inside a chapter, whichever way, there is no circle."
    number = {module_of(notebook): place(notebook)[0] for notebook in NOTEBOOKS}
    graph = {module.stem: imported(module) for module in MODULES}
    assert not {name for names in graph.values() for name in names} - number.keys()
    backwards = [(module, name) for module, names in graph.items() for name in names if number[name] > number[module]]
    assert not backwards
    seen: dict[str, int] = {}

    def depth(module: str, path: tuple = ()) -> int:
        assert module not in path, f"a circle of imports: {' <- '.join((*path, module))}"
        seen[module] = seen.get(module) or 1 + max((depth(name, (*path, module)) for name in graph[module]), default=0)
        return seen[module]

    assert depth("pipeline") > depth("checks") > depth("load") > depth("artifacts") > depth("portfolio")
    assert depth("load") > depth("sample")


@pytest.mark.parametrize("module", MODULES, ids=lambda p: p.stem)
def test_no_module_needs_the_tools_of_development(module):
    nodes = list(ast.walk(ast.parse(module.read_text(encoding="utf-8"))))
    names = {a.name for n in nodes if isinstance(n, ast.Import) for a in n.names} | {n.module or "" for n in nodes if isinstance(n, ast.ImportFrom)}
    assert not {n.split(".")[0] for n in names} & {"fastcore", "nbdev", "execnb", "pytest", "nbval"}


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda p: p.stem)
def test_papermill_can_parametrise_each_notebook(notebook):
    from papermill import inspect_notebook

    tagged = [cell for cell in cells(notebook) if "parameters" in cell["metadata"].get("tags", [])]
    assert len(tagged) == 1, "exactly one cell is tagged 'parameters'"
    tree = ast.parse(source(tagged[0]))
    assert all(isinstance(node, ast.AnnAssign) for node in tree.body), "typed assignments only"
    assert all(ast.literal_eval(node.value) is not NotImplemented for node in tree.body), "literals only"
    found = inspect_notebook(notebook)
    assert found.keys() == {node.target.id for node in tree.body}
    assert all(entry["help"].strip() for entry in found.values()), "each with a help"


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda p: p.stem)
def test_each_notebook_is_a_chapter(notebook):
    metadata = json.loads(notebook.read_text(encoding="utf-8"))["metadata"]
    assert metadata["kernelspec"]["name"] == "python3"
    opening = source(cells(notebook, "markdown")[0]).splitlines()
    assert opening[0].startswith("# ") and opening[1].startswith("> ")
    tags = [tag for cell in cells(notebook) for tag in cell["metadata"].get("tags", [])]
    assert set(tags) <= {"parameters", "dev", "nbval-ignore-output", "nbval-skip", "raises-exception"}
    assert len(cells(notebook, "markdown")) * 3 >= len(cells(notebook)), "at least one cell of prose to three of code"


def test_no_parameter_means_two_things():
    "One name has one type in all notebooks of a run: -p passes it to each that knows it."
    from papermill import inspect_notebook

    from creditrisk.run import GRAPH

    kinds: dict[str, set] = {}
    for name in GRAPH:
        for parameter, entry in inspect_notebook(ROOT / "nbs" / f"{name}.ipynb").items():
            kinds.setdefault(parameter, set()).add(entry["inferred_type_name"])
    assert not {name for name, found in kinds.items() if len(found) > 1}


@pytest.mark.parametrize("module", [m for m in MODULES if m.stem != "sample"], ids=lambda p: p.stem)
def test_no_module_knows_a_column_by_name(module):
    "Neither as a name, nor as a text, nor inside one; a name that is a plain word may stand in a sentence."
    dictionary = tomllib.loads((ROOT / "creditrisk" / "portfolios" / "pago_atiempo.toml").read_text(encoding="utf-8"))
    names = {*dictionary["columns"], *dictionary.get("derived", {})}
    text = module.read_text(encoding="utf-8")
    nodes = list(ast.walk(ast.parse(text)))
    used = {n.id for n in nodes if isinstance(n, ast.Name)} | {n.attr for n in nodes if isinstance(n, ast.Attribute)} | {n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str)}
    assert not names & used
    assert not [name for name in names if "_" in name and re.search(rf"\b{re.escape(name)}\b", text)]


def test_the_lock_has_no_address():
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    assert "://" not in text and "--" not in text and "==" in text


def test_export_and_clean_leave_no_difference(tmp_path):
    "On a copy: what is in creditrisk/ is what nbdev exports, and the notebooks are clean."
    for name in ("settings.ini", "setup.py", "README.md"):
        shutil.copy(ROOT / name, tmp_path)
    for name in ("nbs", "creditrisk"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints"))
    tools = Path(sys.executable).parent
    for tool in ("nbdev_export", "nbdev_clean"):
        done = subprocess.run([tools / tool], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    changed = [p for folder in ("nbs", "creditrisk") for p in sorted((tmp_path / folder).rglob("*")) if p.is_file() and "__pycache__" not in p.parts]
    different = [str(p.relative_to(tmp_path)) for p in changed if not (ROOT / p.relative_to(tmp_path)).is_file() or p.read_bytes() != (ROOT / p.relative_to(tmp_path)).read_bytes()]
    assert not different, f"run `make export`: {', '.join(different)}"
