# make serve    installs what is needed and serves the embedded model at http://127.0.0.1:8000
# make test     installs what is needed and runs every test that needs no GPU
.DEFAULT_GOAL := help
.PHONY: help setup setup-test serve test unit families e2e clients fuzz next-vllm rehearse-cuda drills incidents check format docs bench gpu image lock sbom release clean \
	load load-ramp load-spike load-soak load-ui load-distributed

VENV := .venv/bin
# one more than there are cores: many tests wait for child processes
TESTERS := $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)
URL ?= http://127.0.0.1:8000
LOAD = $(VENV)/python -m loadtests --url $(URL)

help:  ## this list
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

setup:
	@deploy/setup.sh serve

setup-test:
	@deploy/setup.sh test
	@deploy/debian.sh

serve: setup  ## install, then serve the embedded model; ARGS="..." are passed to `patchbay serve`
	@$(VENV)/patchbay serve $(ARGS)

test: setup-test  ## every check and test that needs no GPU
	@$(MAKE) --no-print-directory check unit e2e

check: setup-test  ## format, lint and types
	$(VENV)/ruff format --check .
	$(VENV)/ruff check .
	$(VENV)/mypy

unit: setup-test  ## tests without an engine
	$(VENV)/pytest -q -m "not e2e and not gpu and not families and not clients" -n $(TESTERS) --dist worksteal

families: setup-test  ## every model family at length, as docs/families.md then tells; and a dozen models of none
	FAMILIES_PAGE=1 $(VENV)/pytest -q -m families -n 2 --dist loadfile
	$(VENV)/python -m tests.service.families.page > docs/families.md

e2e: setup-test  ## tests on a real vLLM engine
	$(VENV)/pytest -q -m e2e -n 2 --dist loadfile --durations 30

clients: setup-test  ## the clients that people use, as they install them, each asking about a picture: one table
	@set -e; for list in tests/e2e/clients/requirements/*.txt; do \
	  own=.venv/clients/$$(basename $$list .txt); \
	  test -x $$own/bin/python || $(VENV)/python -m venv $$own; \
	  $(VENV)/uv pip install --quiet --python $$own/bin/python --upgrade --requirement $$list; \
	done
	@mkdir -p .venv/clients/node && cp tests/e2e/clients/node/* .venv/clients/node
	@! command -v npm > /dev/null || npm install --silent --no-audit --no-fund --no-package-lock --prefix .venv/clients/node
	CLIENTS_PAGE=1 $(VENV)/pytest -q -m clients

fuzz: setup-test  ## requests made from the API's document, then ten thousand hostile ones against a real engine
	$(VENV)/python -m tests.service.api.conformance
	$(VENV)/python -m tests.fuzz $(ARGS)

next-vllm: setup-test  ## the engine's tests with a newer vLLM's Python over the CPU build: VERSION=0.34.0
	@test -n "$(VERSION)" || { echo "make next-vllm VERSION=0.34.0: which version of vLLM?" >&2; exit 2; }
	$(VENV)/python -m tests.next_vllm $(VERSION) $(ARGS)

drills: setup-test  ## what breaks in production, one after another: what clients see, and how long it takes to heal
	$(VENV)/python -m tests.faults $(ARGS)

incidents: setup-test  ## two incidents on a real Prometheus, twenty minutes each: what fires when, and what its runbook then shows
	$(VENV)/python -m tests.incidents $(ARGS)

format: setup-test  ## format the code
	$(VENV)/ruff format .
	$(VENV)/ruff check --fix .

docs: setup-test  ## regenerate the pages that are made from code
	$(VENV)/python -m service.cli.reference > docs/settings.md
	$(VENV)/python -m service.cli.reference metrics > docs/metrics.md
	$(VENV)/python -m service.cli.reference api > docs/api.md
	$(VENV)/python helm/document.py
	$(VENV)/python -m helm.dashboards
	$(VENV)/python -m tests.service.families.page > docs/families.md

load: setup-test  ## load test: the capacity of the service at URL=http://127.0.0.1:8000; ARGS="..." are passed on
	@$(LOAD) --shape steps $(ARGS)

load-ramp: setup-test  ## load test: from zero to 20 requests/s in two minutes
	@$(LOAD) --shape ramp --rate 20 --seconds 120 $(ARGS)

load-spike: setup-test  ## load test: calm, a burst, calm again
	@$(LOAD) --shape spike --rate 2 --peak 40 --seconds 30 $(ARGS)

load-soak: setup-test  ## load test: constant load for half an hour
	@$(LOAD) --shape soak --rate 4 --seconds 1800 $(ARGS)

load-ui: setup-test  ## load test: Locust's page at http://127.0.0.1:8089
	@$(LOAD) --shape users --ui --web-host 127.0.0.1 $(ARGS)

load-distributed: setup-test  ## load test: the capacity, with four generator processes
	@$(LOAD) --shape steps --processes 4 $(ARGS)

bench: setup-test  ## check and time every kernel and the encoders
	$(VENV)/python -m kernels.bench
	$(VENV)/python -m benchmarks.encoders
	$(VENV)/python -m benchmarks.encoders.families

# needs nothing of ours installed: a machine that is lent for minutes has PyTorch, and no time
gpu:  ## on a machine with a GPU: kernels and encoders, step by step; ARGS="engine" the service, ARGS="--rehearse" on a CPU
	@$(firstword $(wildcard $(VENV)/python) python3) -m benchmarks.gpu $(ARGS)

image:  ## build the images with podman or docker; TARGETS="cpu cuda gateway" by default
	@deploy/image.sh $(TARGETS)

lock: setup-test  ## update the pinned versions that the images install, and the locks with hashes for each extra
	$(VENV)/python deploy/lock.py cpu > .venv/cpu.txt && mv .venv/cpu.txt deploy/constraints/cpu.txt
	$(VENV)/python deploy/lock.py cuda > .venv/cuda.txt && mv .venv/cuda.txt deploy/constraints/cuda.txt
	$(VENV)/python deploy/locks.py $(ARGS)

sbom: setup-test  ## bills of materials (CycloneDX) of what is locked for each extra, in build/sbom
	@mkdir -p build/sbom
	@for lock in deploy/locks/*.txt; do \
	  $(VENV)/cyclonedx-py requirements --pyproject pyproject.toml --output-reproducible --of JSON \
	    -o build/sbom/patchbay-$$(basename $$lock .txt).cdx.json $$lock; \
	done

rehearse-cuda: setup-test  ## what the image `cuda` would lack, without a container engine or a GPU: 9 GB in FOLDER
	@test -n "$(FOLDER)" || { echo "make rehearse-cuda FOLDER=/var/tmp/cuda: where may 9 GB lie?" >&2; exit 2; }
	$(VENV)/python -m tests.deploy.rehearsal $(FOLDER)

release: sbom  ## the wheel, the chart's package, the bills of materials and their checksums, in dist
	@rm -rf dist && mkdir dist
	@$(VENV)/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .
	@$(VENV)/python -c "import helm_python; helm_python.package('helm/patchbay', destination='dist')"
	@cp build/sbom/*.cdx.json dist
	@cd dist && sha256sum * > SHA256SUMS && cat SHA256SUMS

clean:  ## delete the virtual environment and caches
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist *.egg-info
