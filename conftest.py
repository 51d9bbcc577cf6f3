"""What every kind of test shares: the user's runs are left alone, and saved outputs of notebooks are compared."""

import os
import shutil
import tempfile


def pytest_configure(config):
    "Give tests and notebooks a project folder of their own to write runs to."
    config.home_of_tests = tempfile.mkdtemp(prefix="creditrisk-tests-")
    os.environ["CREDITRISK_HOME"] = config.home_of_tests


def pytest_unconfigure(config):
    "Leave nothing behind."
    shutil.rmtree(config.home_of_tests, ignore_errors=True)


def pytest_collection_modifyitems(items):
    "nbdev drops execution counts, which nbval takes for 'never run, do not compare': put one back where outputs are saved."
    for item in items:
        cell = getattr(item, "cell", None)
        if cell is not None and cell.outputs and cell.execution_count is None:
            cell.execution_count = 0
