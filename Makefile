# Each target makes its own .venv when there is none (or when the dependencies changed), so one command is all.
#   make demo      a virtual patient moves in the scanner, is restored and segmented; pictures in demo/
#   make test      the tests
#   make train-smoke   train on virtual patients for a minute or two and see that it learned; train-smoke/curves.png
#   make check     style
#   make clean     remove what the others made, except .venv
# Another interpreter: make test PYTHON=python3.12

PYTHON ?= python3
VENV := .venv
READY := $(VENV)/.ready

.PHONY: demo test train-smoke check clean

demo: $(READY)
	$(VENV)/bin/python -m DABSegCore.demo --out demo

test: $(READY)
	$(VENV)/bin/python -m pytest

train-smoke: $(READY)
	$(VENV)/bin/python tools/train_smoke.py --out train-smoke

check: $(READY)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

clean:
	rm -rf demo train-smoke build dist dabseg.egg-info .pytest_cache .ruff_cache
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@
