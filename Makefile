# The menu. `make help` lists the targets; each has --help: `make apply ARGS=--help`.
UV := $(shell command -v uv >/dev/null && echo uv || echo build/uv/uv)
# What a target needs first: uv, where the machine has none.
SETUP := $(filter build/uv/uv,$(UV))
RUN := $(UV) run --locked

.DEFAULT_GOAL := help
.PHONY: help bench bench-peers report compare compat faults test lint apply export rebase check wheel pr status merge newcomer sweep test-infra

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

bench: $(SETUP) ## measure stock against the arms, half an hour; ARGS=--quick: three minutes
	@$(RUN) scripts/benchmark.py $(ARGS)

bench-peers: $(SETUP) ## measure Metaflow beside what others keep objects with, six minutes
	@$(RUN) scripts/benchmark.py --workload peers --minutes 6 $(ARGS)

report: $(SETUP) ## rebuild the tables and plots from data/results.tsv
	@$(RUN) scripts/report.py $(ARGS)

compare: $(SETUP) ## compare two result files: make compare ARGS="main.tsv mine.tsv"
	@$(RUN) scripts/compare.py $(ARGS)

compat: $(SETUP) ## let releases since 2.2 and the arms read what every other wrote, 15 minutes
	@$(RUN) scripts/compat.py $(ARGS)

faults: $(SETUP) ## break stores, disks and processes under stock and the arms, 10 minutes
	@$(RUN) scripts/faults.py $(ARGS)

sweep: $(SETUP) ## measure cells of bench/sweep.toml as a Metaflow flow, here or on a cluster
	@$(RUN) scripts/sweep.py $(ARGS)

merge: $(SETUP) ## add the rows of another machine: make merge ARGS=theirs.tsv
	@$(RUN) scripts/merge_results.py $(ARGS)

newcomer: $(SETUP) ## run the two commands of README.md in a fresh clone, and time them
	@$(RUN) scripts/newcomer.py $(ARGS)

test: $(SETUP) ## run the test suite
	@$(RUN) pytest $(ARGS)

test-infra: $(SETUP) ## make, use and destroy a machine with the real az; needs root on Linux
	@.ci/mmdebstrap
	@$(RUN) pytest -m infra --numprocesses=0 tests/infra $(ARGS)

lint: $(SETUP) ## lint, format, types and spelling; shellcheck, schema of the CI workflow
	@$(RUN) ruff check
	@$(RUN) ruff format --check
	@$(RUN) mypy
	@$(RUN) shellcheck infra/vm-manage.sh .ci/run .ci/gh .ci/mmdebstrap
	@$(RUN) codespell --builtin clear,rare,en-GB_to_en-US *.md data/*.md patches/*/pr.md bench compatibility resilience scripts infra Makefile .ci .github --skip '*.pyc'
	@$(RUN) check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml

apply: $(SETUP) ## build the branches of the series on upstream at the pin
	@$(RUN) scripts/apply_patches.py $(ARGS)

export: $(SETUP) ## write the commits of branches back to patches/
	@$(RUN) scripts/export_patches.py $(ARGS)

rebase: $(SETUP) ## try the series on other releases: make rebase ARGS="--to 2.19.39"
	@$(RUN) scripts/rebase_patches.py $(ARGS)

check: $(SETUP) ## hold the series to upstream's rules
	@$(RUN) scripts/check_patches.py $(ARGS)

wheel: $(SETUP) ## build the patched distribution into dist/
	@$(RUN) scripts/build_wheel.py $(ARGS)

pr: $(SETUP) ## prepare the pull request of a topic: make pr ARGS=cas-lz4
	@$(RUN) scripts/open_pr.py $(ARGS)

status: $(SETUP) ## look what became of every issue and pull request
	@$(RUN) scripts/pr_status.py $(ARGS)

build/uv/uv:
	@python3 scripts/fetch_uv.py
