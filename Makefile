# Everything is done by these few verbs. They install what they need and is missing (tests/services/tools).
.DEFAULT_GOAL := help
.PHONY: help demo test check bench soak deb install uninstall

help: ## what there is to do
	@echo "make VERB"
	@sed -nE 's/^([a-z]+):.*## (.*)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 10

demo: ## build, start the daemon on config.example.toml, send one signed sample of each type, show what arrived; ONCE=1: then stop
	@tests/services/demo

test: ## every test; starts the real servers they need (tests/services/up) and stops them again
	@tests/services/tools cargo cc c++ make python3 ssl
	@[ "$$(id -u)" -ne 0 ] || tests/services/tools debootstrap nspawn || true # without them tests/boot is skipped
	@[ "$$(id -u)" -ne 0 ] || tests/services/tools chromium || true # without it tests/browser is skipped
	@deploy/tools || true # without it the tests of the package are skipped
	@tests/services/collector >/dev/null || true # without it a test of traces is skipped
	RUST_TEST_THREADS=$${RUST_TEST_THREADS:-$$(($$(nproc) + 1))} tests/services/with cargo test --workspace --no-fail-fast # most tests wait for something
	@echo "make test: all tests passed"

check: ## what CI looks at besides the tests: format, lints, docs, dependencies
	@.ci/run check

soak: ## kills and evils for as long as asked: KILLS=1000 EVENTS=1000000 SEED=n; messages sent again: RESENDS=10000 RESEND_KILLS=100; several daemons: SEVERAL=20, kills of a daemon and of a broker; ONLY=soak, resends or several; and power losses of the journal: CASES=100000; ends with verdicts
	@tests/services/tools cargo cc c++ make python3 ssl
	HOOKRELAY_SOAK_KILLS=$(or $(KILLS),1000) HOOKRELAY_SOAK_EVENTS=$(or $(EVENTS),1000000) $(if $(SEED),HOOKRELAY_SOAK_SEED=$(SEED)) \
	  HOOKRELAY_SOAK_RESENDS=$(or $(RESENDS),10000) $(if $(RESEND_KILLS),HOOKRELAY_SOAK_RESEND_KILLS=$(RESEND_KILLS)) \
	  HOOKRELAY_SOAK_SEVERAL=$(or $(SEVERAL),20) \
	  tests/services/with cargo test --release --test soak -- $(ONLY)
	tests/soak/power-loss $(or $(CASES),100000)

# Real servers, unless only parts are asked for that need none.
BENCH_ALONE = $(if $(findstring catch-up,$(ARGS))$(findstring several,$(ARGS)),,$(findstring --only,$(ARGS))$(findstring --build,$(ARGS))$(findstring --variant,$(ARGS))$(findstring --url,$(ARGS))$(findstring --help,$(ARGS)))
bench: ## all figures that are promised, beside bare servers and plain clients (a quarter of an hour); QUICK=1: a trial of three minutes; ARGS=--help: parts and more (docs/benchmarks.md)
	@tests/services/tools cargo cc c++ make python3 ssl
	$(if $(BENCH_ALONE),,tests/services/with )cargo bench --bench relay -- $(if $(QUICK),--quick) $(ARGS)
	$(if $(QUICK)$(ARGS),,cargo bench --bench rules)
	$(if $(QUICK)$(ARGS),,cargo bench --bench lookup)

deb: ## a Debian package, target/debian/hookrelay_*.deb; DEB_VERSION=0.1.0-2: of that version; PROFILE=dev: of the tests' build
	@PROFILE=$(PROFILE) BINARY=$(BINARY) DEB_VERSION=$(DEB_VERSION) deploy/deb

install: ## build, and install under PREFIX=/usr/local, below DESTDIR=
	@PROFILE=$(PROFILE) BINARY=$(BINARY) PREFIX=$(PREFIX) DESTDIR=$(DESTDIR) deploy/install

uninstall: ## take away what `make install` installed; config and data stay
	@PREFIX=$(PREFIX) DESTDIR=$(DESTDIR) deploy/install --undo
