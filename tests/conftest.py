"What several test files share."

from pathlib import Path

import pytest

# few loans and little cross-validation: enough to pass through every chapter
SMALL = ["rows=2000", "folds=3", "repeats=1"]


@pytest.fixture(scope="session")
def small_run(tmp_path_factory) -> Path:
    "The folder of a whole run on 2,000 loans of the embedded portfolio."
    from creditrisk.run import run_pipeline

    return run_pipeline(parameters=SMALL, run_id="small", output=tmp_path_factory.mktemp("output"))
