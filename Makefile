# SPDX-License-Identifier: Apache-2.0
# `make setup` once, then `make sandbox` to see it work and `make check` to prove it.

BIN = .venv/bin
PYTHON = $(BIN)/python
# Modules that only compute: every branch of them is tested. They are also the ones that
# import-linter keeps pure (setup.cfg); tests/unit/test_arch.py compares the two lists.
PURE = ovn_ipsec/cli/check_wire/probes.py,ovn_ipsec/cli/check_wire/verdict.py,ovn_ipsec/cli/doctor/checkup.py,ovn_ipsec/cli/doctor/credentialcheck.py,ovn_ipsec/cli/doctor/daemoncheck.py,ovn_ipsec/cli/doctor/plutocheck.py,ovn_ipsec/cli/policy/editing.py,ovn_ipsec/cli/decisions.py,ovn_ipsec/cli/evaluate/answers.py,ovn_ipsec/cli/evaluate/picture.py,ovn_ipsec/cli/evaluate/readings.py,ovn_ipsec/cli/evaluate/summary.py,ovn_ipsec/cli/evaluate/values.py,ovn_ipsec/cli/evidence/times.py,ovn_ipsec/cli/explanation.py,ovn_ipsec/cli/finding.py,ovn_ipsec/cli/groups.py,ovn_ipsec/cli/headroom.py,ovn_ipsec/cli/doctor/hostcheck.py,ovn_ipsec/cli/doctor/kernelcheck.py,ovn_ipsec/cli/doctor/layout.py,ovn_ipsec/cli/doctor/mtucheck.py,ovn_ipsec/cli/doctor/unitcheck.py,ovn_ipsec/cli/machine/values.py,ovn_ipsec/cli/judge.py,ovn_ipsec/cli/layout.py,ovn_ipsec/cli/policy/listing.py,ovn_ipsec/cli/overview.py,ovn_ipsec/cli/pairs.py,ovn_ipsec/cli/peerview.py,ovn_ipsec/cli/rows.py,ovn_ipsec/cli/policy/rulefile.py,ovn_ipsec/cli/report/redaction.py,ovn_ipsec/cli/settings.py,ovn_ipsec/cli/trial.py,ovn_ipsec/cli/unmanaged.py,ovn_ipsec/cli/view.py,ovn_ipsec/cli/wording.py,ovn_ipsec/evidence/*,ovn_ipsec/model/*,ovn_ipsec/ovsdb/jsonstream.py,ovn_ipsec/pki/authority.py,ovn_ipsec/pki/dates.py,ovn_ipsec/pki/errors.py,ovn_ipsec/pki/index.py,ovn_ipsec/pki/keys.py,ovn_ipsec/pki/ledger.py,ovn_ipsec/pki/profile.py,ovn_ipsec/pki/psk.py,ovn_ipsec/pki/report.py,ovn_ipsec/pki/request.py,ovn_ipsec/pki/signature.py,ovn_ipsec/pki/values.py,ovn_ipsec/policy/*,ovn_ipsec/schema/*,controller/evidence/notes.py,controller/headline.py,controller/report.py,controller/stock.py,controller/plan/*,controller/guard/nft_rules.py,controller/guard/nft_table.py,controller/ike/kernel_sas.py,controller/ike/libreswan/conf.py,controller/ike/libreswan/dialect.py,controller/ike/libreswan/pkcs12.py,controller/ike/libreswan/sas.py,controller/ike/libreswan/secrets.py,controller/ike/libreswan/states.py,controller/ike/messages.py,controller/ike/private_key.py,controller/ike/sections.py,controller/metrics.py,controller/xfrm/messages.py,controller/xfrm/values.py,northd_ext/bounds/*,northd_ext/headline.py,northd_ext/metrics.py,northd_ext/observe/hold.py,northd_ext/observe/views.py,northd_ext/policy/*,northd_ext/report.py,northd_ext/rollout/*
GUEST = $(PYTHON) -m ovn_ipsec.lab.guest --anywhere --mem 8 --timeout 14400 $(MACHINE)
SOURCES = ovn_ipsec controller northd_ext tests tools
ARGS =
SEEDS = 300-1299
# Another machine than this one for the guest, such as --speed 20 or --just-booted.
MACHINE =

.PHONY: help setup deb rpm image sandbox check check-fast lint types arch unit unit-fast simulation simulate functional system platforms hosts hosts-check bench bench-policy bench-ovn bench-northd bench-peers bench-switch bench-mesh evaluate docs docs-site

help:
	@echo 'setup        install what is missing: Debian packages, .venv (quick when nothing is)'
	@echo 'sandbox      build a whole encrypted OVN cluster on this machine (ARGS=--keep: a shell in it)'
	@echo
	@echo 'check        everything: lint types arch docs-site unit simulation functional system,'
	@echo '             and most of hosts-check'
	@echo 'check-fast   lint types arch unit-fast, in half a minute'
	@echo 'lint         ruff, its formatter, generated pages and links in the docs'
	@echo 'types        mypy, strict'
	@echo 'arch         which module may import which, and other rules of the house'
	@echo 'unit         all unit tests, and that they cover every branch of the pure modules'
	@echo 'unit-fast    unit tests but the slow ones, with few examples and without coverage'
	@echo 'simulation   the real daemons on simulated hosts: regressions and 300 seeds of faults'
	@echo 'simulate     more seeds of the simulator: make simulate SEEDS=300-20000'
	@echo 'functional   real databases, IKE daemons and kernel tables, in namespaces'
	@echo 'system       real OVN clusters in a virtual machine; MACHINE=--just-booted or'
	@echo '             MACHINE="--speed 20" plays another machine, also with check'
	@echo 'platforms    the main path, what is new and hosts, on bookworm, trixie, sid (SUITE=trixie: one),'
	@echo '             into docs/reference/platforms.md; slow without KVM'
	@echo 'hosts-check  two whole Debian hosts, installed from our packages, rebooted, upgraded, cleared'
	@echo '             (SUITE=sid: of another Debian; SUITE=trixie,sid: of two)'
	@echo 'hosts        the same two hosts, in clear, for you: needs root'
	@echo
	@echo 'bench        cost beside ovs-monitor-ipsec, into docs/explanation/cost.md'
	@echo 'bench-policy what rules cost, into docs/explanation/policy-cost.md'
	@echo 'bench-ovn    what it costs OVN itself, into docs/explanation/ovn-cost.md'
	@echo 'bench-northd what a large cluster costs northd, into docs/explanation/northd-cost.md'
	@echo 'bench-peers  what it costs to bring many peers up, into docs/explanation/peers-cost.md'
	@echo 'bench-switch how long the switch takes by the simulator, into docs/explanation/switch-cost.md'
	@echo 'bench-mesh   twenty hosts, each with each, into docs/explanation/mesh.md'
	@echo 'evaluate     throughput and CPU by cipher suite, into docs/explanation/evaluation.md'
	@echo 'docs         write the generated pages, pictures and man pages again'
	@echo 'docs-site    the pages as a site, into build/site; broken links are errors'
	@echo 'deb          Debian packages of the committed tree, into build/deb'
	@echo 'rpm          RPM packages of the committed tree for Fedora, into build/rpm'
	@echo 'image        an OCI image with the Debian packages, into build/image'

setup:
	@tools/setup

deb:
	@tools/deb

rpm:
	@tools/rpm

image:
	@tools/image

sandbox: setup
	$(PYTHON) -m ovn_ipsec.cli sandbox $(ARGS)

# Two at a time. A guest that emulates leaves time to what runs beside it at idle priority, and
# takes no harm; `make system` shows what it does as it does it, the functional tests at their end.
PAIRED = $(MAKE) --no-print-directory --jobs=2
check: setup
	@$(PAIRED) --output-sync=target unit simulation lint types arch docs-site
	@$(PAIRED) functional-beside system
	@$(MAKE) --no-print-directory hosts-short

# The unit tests beside everything else.
check-fast: setup
	@$(PAIRED) --output-sync=target unit-fast lint types arch

lint:
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(PYTHON) tools/reference.py --check
	$(PYTHON) tools/manpages.py --check

types:
	$(BIN)/mypy

arch:
	$(BIN)/lint-imports --no-logo
	$(PYTHON) -m pytest -q tests/unit/test_arch.py

unit:
	$(PYTHON) -m pytest tests/unit --cov --cov-report=
	$(BIN)/coverage report --include='$(PURE)' --fail-under=100

unit-fast:
	HYPOTHESIS_PROFILE=few $(PYTHON) -m pytest -q tests/unit --ignore=tests/unit/test_arch.py -m 'not slow'

# The real daemons on simulated hosts, in virtual time.
simulation:
	$(PYTHON) -m pytest tests/simulation

simulate:
	$(PYTHON) -m tests.simulation $(SEEDS)

functional:
	$(PYTHON) -m pytest tests/functional

.PHONY: functional-beside
functional-beside:
	@mkdir -p build
	@chrt --idle 0 $(MAKE) --no-print-directory functional >build/functional.log 2>&1; \
	    status=$$?; cat build/functional.log; exit $$status

# No plugins: loading and rewriting those of the other suites takes a guest most of a minute.
system:
	$(GUEST) -- env PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 $(PYTHON) -m pytest tests/system --ignore=tests/system/platforms -p no:cacheprovider --durations=20

# Each generation with its own root and kernel, made by mmdebstrap: needs root.
SUITE =
platforms: setup deb
	$(PYTHON) tools/platforms.py $(SUITE)
	$(PYTHON) tools/reference.py

# No cache of pytest: what is tried is what was installed.
HOSTS_CHECK = $(PYTHON) -m pytest tests/hosts $(SUITE:%=--suite=%) -p no:cacheprovider --durations=10
hosts-check: setup deb
	$(HOSTS_CHECK)

# The hosts want a machine for themselves: commands in them have limits.
.PHONY: hosts-short
hosts-short: setup
	@if ! command -v apt-get >/dev/null; then echo 'HOSTS NOT TRIED: this is not Debian'; exit; fi; \
	tools/deb; case $$? in \
	0) $(HOSTS_CHECK) -m 'not slow' ;; \
	75) echo 'HOSTS NOT TRIED: what our packages are built with cannot be fetched' ;; \
	*) exit 1 ;; esac

hosts: setup deb
	$(PYTHON) -m ovn_ipsec.lab.hosts up $(SUITE:%=--suite=%)

bench:
	$(PYTHON) tests/bench/control_plane/run.py $(ARGS)

bench-policy:
	$(PYTHON) tests/bench/policy/run.py $(ARGS)

bench-ovn:
	$(PYTHON) tests/bench/ovn_cost/run.py $(ARGS)

bench-northd:
	$(PYTHON) tests/bench/northd/run.py $(ARGS)

# Needs root, user-mode-linux and busybox-static.
bench-peers:
	$(PYTHON) tests/bench/thousand/run.py $(ARGS)

# Needs root.
bench-switch:
	$(PYTHON) tests/bench/switch/run.py $(ARGS)

# Needs root, user-mode-linux and busybox-static.
bench-mesh:
	$(PYTHON) tests/bench/mesh/run.py $(ARGS)

evaluate:
	$(PYTHON) tests/bench/evaluation/run.py $(ARGS)

docs:
	$(PYTHON) tools/reference.py
	$(PYTHON) tools/manpages.py

docs-site:
	@tools/docs-site
