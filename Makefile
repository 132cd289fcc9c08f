# `make demo` and `make test` do all of their own set-up; `make check` is what a commit must pass besides.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin
# A CPU build of torch is enough for auricle-mini and the tests.
INSTALLED := $(VENV)/.installed

.PHONY: demo test check weights clean

QUESTION := By how much did the cycle of the star called Tallow shorten in ten years?
CHOICES := --choice "Eleven seconds" --choice "Nineteen seconds" --choice "Forty seconds" --choice "Thirty seconds"

demo: weights
	$(RUN)/auricle ask examples/lecture.wav "$(QUESTION)" $(CHOICES) --pruner full
	$(RUN)/auricle ask examples/lecture.wav "$(QUESTION)" $(CHOICES) --pruner speechprune --pruning-rate 0.4

test: $(INSTALLED) weights
	$(RUN)/pytest

check: $(INSTALLED)
	$(RUN)/ruff format --check .
	$(RUN)/ruff check .
	$(RUN)/mypy

weights: $(INSTALLED)
	$(RUN)/auricle models pull mini

$(INSTALLED): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(RUN)/pip install --quiet --upgrade pip
	$(RUN)/pip install --quiet -e '.[dev,train,spiral,eval,voxtral,serve,ray]'
	touch $@

clean:
	rm -rf $(VENV) build dist
