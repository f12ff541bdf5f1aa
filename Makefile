# make demo   install, distil a sentence encoder, show the table
# make test   install what the tests need and run all of them
# make help   everything else

PYTHON ?= python3
# the exact set that CI runs; `make demo CONSTRAINTS=` lets the package index choose within the declared ranges
CONSTRAINTS ?= constraints.txt
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check $(if $(CONSTRAINTS),--constraint $(CONSTRAINTS))
PLUGINS := $(wildcard plugins/*)
MANIFESTS := pyproject.toml $(wildcard plugins/*/pyproject.toml) $(CONSTRAINTS)

export HF_HUB_OFFLINE = 1
export TOKENIZERS_PARALLELISM = false

.PHONY: help demo test lint lower-bounds wheels benchmark evidence-retrieval evidence-cranfield evidence-bpkd clean

help:
	@sed -n 's/^# make/make/p' Makefile
	@echo "make lint | lower-bounds | wheels | benchmark | evidence-retrieval | evidence-cranfield | evidence-bpkd | clean"

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "kdhub: error: Python 3.10 or newer is needed, got %s -> make PYTHON=python3.11" % sys.version.split()[0])'
	$(PYTHON) -m venv $(VENV)

$(VENV)/demo.stamp: $(MANIFESTS) | $(BIN)/python
	@echo "installing kdhub and kdhub-retrieval into $(VENV) (some 3 GB with torch, once)"
	$(PIP) --editable . --editable "plugins/kdhub-retrieval[demo]"
	@touch $@

$(VENV)/dev.stamp: $(VENV)/demo.stamp
	$(PIP) --editable ".[dev]" $(foreach plugin,$(PLUGINS),--editable "$(plugin)[demo]")
	@touch $@

demo: $(VENV)/demo.stamp
	@$(BIN)/kdhub demo

test: lint lower-bounds
	$(BIN)/python -m pytest

lint: $(VENV)/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

lower-bounds: $(VENV)/dev.stamp
	$(BIN)/python .ci/lower_bounds.py

wheels: $(VENV)/dev.stamp
	for project in . $(PLUGINS); do $(BIN)/python -m build --outdir dist $$project || exit; done

benchmark: $(VENV)/dev.stamp
	$(BIN)/python benchmarks/step.py
	$(BIN)/python benchmarks/scaling.py
	$(BIN)/python benchmarks/segmentation_losses.py

METRICS := retrieval/nDCG@10 retrieval/MRR@10 retrieval/recall@10
EVIDENCE = $(BIN)/python tools/evidence.py --seeds 0 1 2 --metric $(METRICS)

# some 12 minutes each on 2 cores
evidence-retrieval: $(VENV)/dev.stamp
	$(BIN)/python tools/prepare_data.py docstrings
	$(EVIDENCE) --work-dir work_dirs/evidence/docstrings \
	  distilled=configs/retrieval/embed-kl_minilm-l2_teacher-minilm-l6_180it_docstrings.py

evidence-cranfield: $(VENV)/dev.stamp
	$(BIN)/python tools/prepare_data.py cranfield
	$(EVIDENCE) --work-dir work_dirs/evidence/cranfield \
	  distilled=configs/retrieval/embed-rkd_minilm-l2_teacher-minilm-l6_4e_cranfield.py

clean:
	rm -rf $(VENV) dist build
