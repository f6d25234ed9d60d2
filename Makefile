# Post.Office: everything runs in a virtual environment made here; nothing is installed outside it but system packages
# that the tests and benchmarks need.
#
#   make run     set up a demonstration server in ./var and run it
#   make test    install what tests need, then run all of them
#   make fast    the fast part of the tests (under two minutes)
#   make bench   measure against Postfix and Dovecot, in one run
#   make lint    ruff and mypy --strict
#   make docs    regenerate the generated pages of docs/

SHELL := /bin/bash
# The system's Python where it is new enough, so that an unprivileged server user can run it.
PYTHON := $(shell for p in /usr/bin/python3 python3 python3.13 python3.12 python3.11; do \
	"$$p" -c 'import sys; raise SystemExit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$$p"; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
TEST_PACKAGES := swaks libnet-ssleay-perl libauthen-sasl-perl curl msmtp mutt fetchmail getmail6 gnutls-bin openssl gcc libc6-dev

.PHONY: run test fast bench lint docs clean

run: $(VENV)/.run
	@$(BIN)/postoffice demo --spool ./var

test: $(VENV)/.test system-packages lint
	$(BIN)/python -m pytest -n 2 -m "not slow"
	$(BIN)/python -m pytest -n 2 -m slow

fast: $(VENV)/.test
	$(BIN)/python -m pytest -n 2 -m "not slow"

bench: $(VENV)/.run
	@tools/require-packages postfix dovecot-pop3d dovecot-lmtpd
	$(BIN)/python -m bench

lint: $(VENV)/.test
	$(BIN)/ruff check src tests bench
	$(BIN)/mypy

docs: $(VENV)/.run
	$(BIN)/python tools/generate_docs.py

.PHONY: system-packages
system-packages:
	@tools/require-packages $(TEST_PACKAGES)

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed (Debian: apt-get install python3 python3-venv)" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || tools/require-packages python3-venv
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: pyproject.toml $(VENV)/bin/python
	@echo "Installing Post.Office into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.test: pyproject.toml requirements-dev.txt $(VENV)/.run
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements-dev.txt
	@touch $@

clean:
	rm -rf $(VENV) build dist
