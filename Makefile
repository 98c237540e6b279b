# Everything runs in .venv, which the first target that needs it installs from pyproject.toml and constraints.txt.

PYTHON ?= python3
VENV_PYTHON := .venv/bin/python
PYTEST := $(VENV_PYTHON) -m pytest -q --jaxtyping-packages=metarl_envs,metarl,beartype.beartype
PARALLEL := --numprocesses=auto --maxprocesses=4 --dist=worksteal  # each process takes a gigabyte
INSTALLED := .venv/.installed
DRAWS := .venv/.draws
BROWSES := .venv/.browses
GL_PACKAGES := libegl1 libgl1-mesa-dri libopengl0

export PIP_DISABLE_PIP_VERSION_CHECK := 1
unexport PYTHONPATH PYTHONHOME  # ROS and others put packages there that would shadow those of .venv

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-slow test-gpu reliability parity lint format docs bench bench-quick bench-algorithms \
	bench-algorithms-quick bench-gpu bench-scaling results results-check

help: ## List these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-22s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(DRAWS) ## Install everything into .venv (the other targets do it when needed)
	@echo "Set up: .venv is what constraints.txt asks for. Next: make demo"

demo: $(DRAWS) ## Train on Meta-World, measure on held-out tasks, film and report it: 4 minutes on 2 cores
	@run=runs/demo; n=2; while [ -e "$$run" ]; do run="runs/demo-$$n"; n=$$((n + 1)); done; set -e; \
	echo "1/3 Meta-training with the preset demo into $$run"; \
	.venv/bin/metarl train demo --run "$$run"; \
	echo "2/3 Measuring on held-out tasks what a few episodes of adaptation change"; \
	.venv/bin/metarl evaluate "$$run"; \
	echo "3/3 Filming held-out tasks before and after adaptation, and putting it all into one page"; \
	.venv/bin/metarl report "$$run"; \
	echo "Done. The report is $$run/report.html: open it in a browser. Beside it, evaluations/ holds the numbers," \
	"checkpoints/ the policy."

test: $(DRAWS) $(BROWSES) ## Run the tests
	@$(PYTEST) $(PARALLEL)

test-slow: $(DRAWS) ## Run the tests that take longer than CI allows
	@$(PYTEST) $(PARALLEL) -m "slow and not gpu"

test-gpu: $(INSTALLED) ## Run the tests that need a GPU (docs/gpu.md)
	@$(PYTEST) -m gpu

reliability: $(INSTALLED) ## Kill trainings 210 times and compare, damage checkpoints, fill disks: 10 minutes
	@$(PYTEST) -s -m "not gpu" tests/metarl/test_reliability*.py tests/metarl/test_run_lock.py

parity: $(INSTALLED) ## Compare the engine with Meta-World in full: 50 classes x 5 tasks x 3 ways of acting x 500 steps, and MT10
	@$(VENV_PYTHON) scripts/parity.py

lint: $(INSTALLED) ## Check style, formatting and types
	@$(VENV_PYTHON) -m ruff check .
	@$(VENV_PYTHON) -m ruff format --check .
	@$(VENV_PYTHON) -m mypy
	@$(VENV_PYTHON) -m mypy --cache-dir=.mypy_cache/tests --allow-untyped-defs --allow-incomplete-defs tests

format: $(INSTALLED) ## Format the code and mend what can be mended without thought
	@$(VENV_PYTHON) -m ruff check --fix .
	@$(VENV_PYTHON) -m ruff format .

docs: $(INSTALLED) ## Build the documentation and its API reference into site/
	@NO_MKDOCS_2_WARNING=1 $(VENV_PYTHON) -m mkdocs build --strict
	@echo "Documentation: site/index.html"

results: $(INSTALLED) ## Generate docs/RESULTS.md, its figures and the cards of policies from results/ and metarl/zoo/
	@$(VENV_PYTHON) scripts/results write

results-check: $(INSTALLED) ## Compare them with what would be generated
	@$(VENV_PYTHON) scripts/results check

bench: $(INSTALLED) ## Measure the speed of simulation against Meta-World's own: a quarter of an hour
	@$(VENV_PYTHON) scripts/benchmark --suite meta-world

bench-quick: $(INSTALLED) ## The same with one comparison: a minute or two
	@$(VENV_PYTHON) scripts/benchmark --suite quick

bench-algorithms: $(INSTALLED) ## Measure time and memory of meta-iterations: half an hour
	@$(VENV_PYTHON) scripts/benchmark --suite algorithms

bench-scaling: $(INSTALLED) ## Measure processes against threads, for sampling and for meta-iterations: half an hour
	@$(VENV_PYTHON) scripts/benchmark --suite scaling

bench-algorithms-quick: $(INSTALLED) ## The same on point navigation: a minute
	@$(VENV_PYTHON) scripts/benchmark --suite algorithms-quick

bench-gpu: $(INSTALLED) ## The same on a GPU, against the targets in docs/gpu.md
	@$(VENV_PYTHON) scripts/benchmark --suite algorithms --device cuda

# The stamp bears another name until pip is done, so an interrupted install is never taken for a finished one; it starts
# over. It is as old as the start of the install: a pin edited meanwhile counts as newer.
$(INSTALLED): pyproject.toml constraints.txt
	@if [ -e .venv/.unfinished ]; then echo "The last installation did not finish: starting over."; rm -rf .venv; fi
	@if $(VENV_PYTHON) -m pip --version > /dev/null 2>&1; then \
		echo "Bringing .venv up to date with pyproject.toml and constraints.txt."; \
	else $(MAKE) --no-print-directory .venv/pip; fi
	@rm -f $@ && touch .venv/.unfinished
	@$(VENV_PYTHON) -m pip install -q -c constraints.txt -e '.[dev]'
	@mv .venv/.unfinished $@

ifeq ($(shell [ -x $(VENV_PYTHON) ] && echo yes),)  # the Python that .venv was made with has gone, stamp or not
.PHONY: $(INSTALLED)
endif

.PHONY: .venv/pip
.venv/pip:
	@"$(PYTHON)" -c '' > /dev/null 2>&1 || \
	{ echo "'$(PYTHON)' does not run here; name a Python 3.11, 3.12 or 3.13, as in: make setup PYTHON=python3.12"; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
	{ echo "metarl needs Python 3.11, 3.12 or 3.13, but '$(PYTHON)' is $$("$(PYTHON)" -V 2>&1); name another, as in:" \
	"make setup PYTHON=python3.12"; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2> /dev/null || \
	{ echo "'$(PYTHON)' cannot make virtual environments; on Debian or Ubuntu: sudo apt-get install python3-venv"; exit 1; }
	@echo "Installing PyTorch, MuJoCo, Meta-World and the development tools into .venv, as constraints.txt has them."
	@echo "With a CPU-only PyTorch that is 1.7 GB on disk and takes 1 to 5 minutes. On Linux pip takes the CUDA build"
	@echo "unless told otherwise, several GB more. For the CPU-only build, which is all that the demo needs, set"
	@echo "PIP_EXTRA_INDEX_URL to the index that PyTorch's install page names, and start again."
	@[ -x $(VENV_PYTHON) ] || rm -rf .venv
	@"$(PYTHON)" -m venv .venv

# Only tests of what is shown in a browser need Chromium, and are skipped without one, outside of CI.
$(BROWSES): $(INSTALLED)
	@has_chromium() { command -v chromium || command -v chromium-browser || command -v google-chrome; } > /dev/null; \
	if ! has_chromium && [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null; then \
		echo "Installing the browser that reports are tested in: chromium"; \
		export DEBIAN_FRONTEND=noninteractive; \
		apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium > /dev/null; \
	fi; \
	if has_chromium; then touch $@; else \
		echo "There is no Chromium, so tests in a browser will be skipped. On Debian: sudo apt-get install chromium"; \
	fi

# Only videos need a GL library: without one there is no stamp, a hint each time, and all else goes on.
$(DRAWS): $(INSTALLED)
	@can_draw() { $(VENV_PYTHON) -c 'from metarl import gl; gl.choose_backend()' 2> /dev/null; }; \
	if ! can_draw && [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null; then \
		echo "Installing what MuJoCo draws with where there is no screen: $(GL_PACKAGES)"; \
		export DEBIAN_FRONTEND=noninteractive; \
		apt-get update -qq && apt-get install -y -qq --no-install-recommends $(GL_PACKAGES) > /dev/null; \
	fi; \
	if can_draw; then touch $@; else \
		echo "MuJoCo cannot draw here, so there will be no videos. On Debian or Ubuntu: sudo apt-get install $(GL_PACKAGES)"; \
	fi
