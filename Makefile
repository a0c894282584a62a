# The two commands that a newcomer needs: `make demo` and `make test`. Both set up everything themselves.
PYTHON ?= python3
VENV ?= .venv
QT ?= pyqt6
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
SCREEN := xvfb-run -a -s "-screen 0 1600x1000x24"

.PHONY: demo napari test lint check screen bench pictures clean

# The environment is rebuilt only when what it is made of has changed.
$(VENV)/.base: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) install -q -c constraints.txt -e .
	touch $@

$(VENV)/.test-$(QT): $(VENV)/.base
	$(PIP) install -q -c constraints.txt -e ".[test,$(QT)]"
	touch $@

demo: $(VENV)/.base ## the main job on bundled real data: prints what it wrote
	$(BIN)/focusstack demo -o demo_output

napari: $(VENV)/.test-$(QT) ## napari with a bundled stack open and the plugin at hand
	$(BIN)/napari --plugin napari-focusstack sample_data/organoids.ome.tif

test: $(VENV)/.test-$(QT) screen lint ## lint, types, and the tests with real windows
	NAPARI_STRICT_QT=1 PYTHONFAULTHANDLER=1 $(SCREEN) $(BIN)/python -m pytest

lint: $(VENV)/.test-$(QT)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

screen: ## what real windows need on Debian and Ubuntu; installed where we may, named where we may not
	@bash .ci/screen

bench: $(VENV)/.base ## speed and quality, as ratios beside named peers (minutes)
	bash benchmarks/run_all.sh $(BIN)/python

pictures: $(VENV)/.test-$(QT) screen ## the README's pictures, drawn anew
	NAPARI_STRICT_QT=1 $(SCREEN) $(BIN)/python docs/make_pictures.py

clean:
	rm -rf $(VENV) build dist demo_output .pytest_cache .mypy_cache .ruff_cache
