# SPDX-License-Identifier: GPL-3.0-or-later
.PHONY: demo test unit faults bench experiments lint reference setup clean

demo: ## split a VM over three hosts of a lab on this machine (as root)
	@demo/run

test: ## every test, with its own set-up (as root)
	@tools/test

unit: ## the tests that need neither root nor hosts
	@tools/unit

faults: ## the fault matrix, every cell (as root)
	@tools/faults

bench: ## benchmarks into build/bench/; ONLY=NAME for one (as root)
	@tools/bench $(ONLY)

experiments: ## what docs/experiments.md tells, within an hour; QUICK=1 for five minutes of it (as root)
	@tools/experiments $(if $(QUICK),--quick,--document)

lint: ## what a reviewer should not have to say
	@tools/lint

reference: ## docs/reference, anew from what modules and roles say of themselves
	@"$$(tools/venv)/bin/python" tools/reference

setup: ## Debian packages and the Python environment (as root)
	@tools/setup native/qemu/build-depends

clean: ## what was built here, and labs made from here (as root)
	@tools/clean
