# Everything that a person or CI runs. `make run` and `make test` set up what they need by themselves.
.DEFAULT_GOAL := help
export PATH := $(CURDIR)/.venv/bin:$(PATH)
PROTOS := $(shell find protos -name '*.proto')
CYTHON := $(shell find core -name '*.pyx' -o -name '*.pxd')
BENCH ?=

.PHONY: help run test check bench bench-load asan annotate format fuzz soak nightly clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

.venv/.installed: pyproject.toml constraints.txt scripts/setup
	@scripts/setup
	@touch $@

build/.built: .venv/.installed setup.py $(PROTOS) $(CYTHON)
	@scripts/build
	@mkdir -p build && touch $@

run: build/.built ## set up, then start the supervisor on 127.0.0.1:50051
	@exec harmost up $(ARGS)

test: build/.built ## set up, then run every test (ARGS="-k name" for some)
	@exec pytest $(if $(CI),--timeout=600) $(ARGS)

check: build/.built ## lint, format, types, contracts
	ruff check .
	ruff format --check .
	mypy
	pyright
	buf lint
	buf format --exit-code -d
	scripts/buf-breaking

.venv/.bench: .venv/.installed
	@pip install -q -c constraints.txt --group bench
	@touch $@

bench: build/.built .venv/.bench ## measure (BENCH=wire: only bench_wire*.py) into benchmarks/results/latest.jsonl
	@python benchmarks/run.py $(BENCH)

bench-load: build/.built ## load the mesh until it is full: ten minutes (ARGS=--quick: one); see docs/load.md
	@python benchmarks/load/suite.py $(ARGS)

nightly: build/.built ## the tests that try more at night, with the effort of a night (ARGS go to pytest)
	@HARMOST_EFFORT=nightly pytest --timeout=14400 $$(grep -rlE "effort\(" tests --include="test_*.py") $(ARGS)

fuzz: build/.built ## mutated frames against the wire server for ten minutes (nightly)
	@python tests/services/wire/wire_fuzz.py 600

soak: build/.built ## mixed load on the wire server for ten minutes (nightly)
	@python tests/services/wire/wire_soak.py 600

asan: build/.built ## test the compiled modules under AddressSanitizer
	@scripts/asan

annotate: build/.built ## write build/cython/**/*.html: which Cython lines call Python
	@HARMOST_ANNOTATE=1 python setup.py -q build_ext --inplace

format: .venv/.installed ## format Python and protos
	@ruff check --fix-only -q . && ruff format -q . && buf format -w

clean: ## remove what git ignores, the virtual environment and data included
	@git clean -Xfdq
