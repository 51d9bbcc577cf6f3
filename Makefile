# Everything a user needs: `make run`, `make test`, `make dashboard`, `make serve`. `make` alone lists the targets.
# The environment (.venv) is made when it is needed, and again only when what it is made from has changed.

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help run test dashboard serve export outputs bench lock clean

help:  ## list the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

# .venv/.notebooks is enough to run, .venv/.dev adds what tests and editing need
$(VENV)/.notebooks $(VENV)/.dev: $(VENV)/.%: settings.ini setup.py constraints.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed; found: $$(python3 --version 2>&1 || echo none). Give one with: make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; $(PYTHON) is $$($(PYTHON) --version 2>&1)"; exit 1; }
	@test -x $(BIN)/uv || { echo "Setting up $(VENV)"; $(PYTHON) -m venv $(VENV) && $(BIN)/python -m pip install -qq --disable-pip-version-check uv; } || \
	  { echo "$(PYTHON) -m venv failed: on Debian and Ubuntu, apt-get install python3-venv"; exit 1; }
	@$(BIN)/uv pip install -q --python $(BIN)/python --compile-bytecode -c constraints.txt -e '.[$*]' || \
	  $(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[$*]'
	@touch $@

run: $(VENV)/.notebooks  ## run everything; DATA=file or SQL URL, QUERY=, PORTFOLIO=name or toml, ARGS='-p name=value ...'
	@$(BIN)/creditrisk run $(if $(DATA),--data '$(DATA)') $(if $(QUERY),--query '$(QUERY)') $(if $(PORTFOLIO),--portfolio '$(PORTFOLIO)') $(ARGS)

test: $(VENV)/.dev  ## every test: style, contracts, whole runs, notebooks
	@$(BIN)/ruff check -q --output-format concise .
	@$(BIN)/pytest -q -rs -n 2 --dist loadfile --cov --cov-report=xml tests; status=$$?; \
	  $(BIN)/pytest -q nbs --nbval --nbval-current-env && exit $$status

dashboard: $(VENV)/.notebooks  ## open the dashboard of the run in use
	@$(BIN)/creditrisk dashboard $(ARGS)

serve: $(VENV)/.notebooks  ## serve the model of the run in use
	@$(BIN)/creditrisk serve $(ARGS)

export: $(VENV)/.dev  ## write creditrisk/ from nbs/ and clean the notebooks
	@$(BIN)/nbdev_export
	@$(BIN)/nbdev_clean

outputs: $(VENV)/.dev  ## execute the notebooks in place, so that the outputs saved in them are today's
	@home=$$(mktemp -d) && trap 'rm -rf "$$home"' EXIT && CREDITRISK_HOME=$$home $(BIN)/jupyter nbconvert --log-level=ERROR --to notebook --execute --inplace nbs/[0-9]*.ipynb
	@$(BIN)/nbdev_clean

bench: $(VENV)/.dev  ## measure speed
	@for file in bench/[a-z]*.py; do $(BIN)/python $$file || exit 1; done

lock: $(VENV)/.dev  ## resolve the newest versions into constraints.txt, the same for every Python: a figure must not depend on it
	@$(BIN)/uv pip compile -q --refresh-package creditrisk --universal --fork-strategy fewest --python-version 3.11 --no-emit-index-url --no-annotate --no-header --extra dev setup.py -o constraints.txt

clean:  ## remove the environment and caches, not the runs
	@rm -rf $(VENV) *.egg-info build .pytest_cache .ruff_cache .coverage coverage.xml
