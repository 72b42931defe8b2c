# Each target makes its own .venv when there is none (or when the dependencies changed), so one command is all.
#   make demo      a virtual patient moves in the scanner, is restored and segmented; pictures in demo/
#   make view      the browser workbench, on a virtual patient; of a case or a folder of cases: make view CASE=...
#   make test      the tests, but for those of the workbench
#   make test-browser  these; some need Chromium or Chrome
#   make train-smoke   train on virtual patients for a minute or two and see that it learned; train-smoke/curves.png
#   make check     style
#   make clean     remove what the others made, except .venv and .venv-browser
# Another interpreter: make test PYTHON=python3.12

PYTHON ?= python3
VENV := .venv
READY := $(VENV)/.ready
# The workbench has an environment of its own: trame-slicer needs another slicer-core than the module's tests.
BROWSER := .venv-browser
BROWSER_READY := $(BROWSER)/.ready

.PHONY: demo view test test-browser train-smoke check clean

demo: $(READY)
	$(VENV)/bin/python -m DABSegCore.demo --out demo

view: $(BROWSER_READY)
	$(BROWSER)/bin/python -m DABSegExtension.browser $(if $(CASE),"$(CASE)",--virtual 7) $(OPTIONS)

test: $(READY)
	$(VENV)/bin/python -m pytest

test-browser: $(BROWSER_READY)
	$(BROWSER)/bin/python -m pytest -n 0 Testing/Browser

train-smoke: $(READY)
	$(VENV)/bin/python tools/train_smoke.py --out train-smoke

check: $(READY)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

clean:
	rm -rf demo train-smoke build dist dabseg.egg-info .pytest_cache .ruff_cache
	find . -name __pycache__ -not -path './$(VENV)/*' -not -path './$(BROWSER)/*' -prune -exec rm -rf {} +

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

$(BROWSER_READY): pyproject.toml constraints-browser.txt
	$(PYTHON) -m venv $(BROWSER)
	$(BROWSER)/bin/python -m pip install --quiet --constraint constraints-browser.txt --editable '.[browser-dev]'
	touch $@
