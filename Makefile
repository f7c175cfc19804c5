# Everything runs in .venv, which is made once and again whenever requirements.txt changes.
#
#   make demo    the whole path on the embedded data set; results in runs/demo
#   make test    format, lint and tests
#   make test-docs  runs every command of the documentation, some half an hour
#   make beam    adds Apache Beam, for conversions on many machines
#   make datumaro  .venv-datumaro, for `mtl-ssl import-any --datumaro_python .venv-datumaro/bin/python`
#   make test-next  the tests with the next TensorFlow; see docs/model_garden.md
#   make mutants  what the tests of some modules would not notice; see [tool.mutmut] in pyproject.toml
#   make docs    the site of the documentation, docs/_build/html/index.html
#   make lock    the pinned requirements from requirements.in and requirements-beam.in

PYTHON ?= python3.11
BIN := .venv/bin
READY := .venv/.ready
BEAM_READY := .venv/.beam_ready
NEXT := .venv-next

# TensorFlow's start-up notices hide what a run has to say.
export TF_CPP_MIN_LOG_LEVEL ?= 2
export PYTHONUNBUFFERED := 1

DEMO := runs/demo

PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder
# Programs that XLA has compiled stay in the memory of their process, some 6 GB of them here: these
# tests have processes of their own.
COMPILING := tests/smoke_test.py tests/tasks

.PHONY: setup beam datumaro demo docs test test-docs test-next mutants lock clean-demo

setup: $(READY)

$(READY): requirements.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

beam: $(BEAM_READY)

$(BEAM_READY): requirements-beam.txt $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-beam.txt
	touch $@

datumaro: .venv-datumaro/.ready

.venv-datumaro/.ready: requirements-datumaro.in
	$(PYTHON) -m venv .venv-datumaro
	.venv-datumaro/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-datumaro.in
	touch $@

test: $(BEAM_READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(PYTEST) -m "not walk" $(COMPILING)
	$(PYTEST) -m "not walk" $(COMPILING:%=--ignore=%)

test-docs: $(BEAM_READY)
	$(PYTEST) -m walk tests/documentation

# Model Garden pins TensorFlow 2.20, so it goes in without its dependencies; these are those of the
# lock but for TensorFlow's own packages.
$(NEXT)/.ready: requirements.txt requirements-beam.txt requirements-next.txt
	$(PYTHON) -m venv $(NEXT)
	grep -hE '^[a-z0-9_.-]+==' requirements.txt requirements-beam.txt | sort -u \
		| grep -vE '^(h5py|keras|ml-dtypes|tensorflow|tensorflow-text|tf-keras|tf-models-official)==' \
		> $(NEXT)/pinned.txt
	$(NEXT)/bin/python -m pip install --quiet --disable-pip-version-check \
		-r $(NEXT)/pinned.txt -r requirements-next.txt
	grep '^tf-models-official==' requirements.txt > $(NEXT)/official.txt
	$(NEXT)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps \
		-r $(NEXT)/official.txt
	touch $@

test-next: $(NEXT)/.ready
	$(NEXT)/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

# It works on a copy in mutants/ and keeps what it found there; a later run tries what has changed.
MUTANTS_READY := .venv/.mutants_ready

$(MUTANTS_READY): requirements-mutants.in $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-mutants.in
	touch $@

mutants: $(MUTANTS_READY)
	mkdir -p mutants
	printf '%s\n' tensorflow tf_keras official.core.config_definitions > mutants/preload.txt
	$(BIN)/mutmut run --max-children 2
	$(BIN)/mutmut results

docs: .venv-docs/.ready
	.venv-docs/bin/sphinx-build -W --keep-going -q -c docs -b html . docs/_build/html

.venv-docs/.ready: requirements-docs.in
	$(PYTHON) -m venv .venv-docs
	.venv-docs/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-docs.in
	touch $@

demo: $(READY)
	$(BIN)/python -m mtl_ssl_tf.data.synthetic --output_dir $(DEMO)/scenes
	$(BIN)/python -m mtl_ssl_tf.data.pascal_voc --data_dir $(DEMO)/scenes --split train --output_dir $(DEMO)/records
	$(BIN)/python -m mtl_ssl_tf.data.pascal_voc --data_dir $(DEMO)/scenes --split val --output_dir $(DEMO)/records
	$(BIN)/python train.py --flagfile=configs/flags/demo.flags --model_dir=$(DEMO)/model
	$(BIN)/python -m mtl_ssl_tf.visualization.curves --model_dir $(DEMO)/model --output $(DEMO)/curves.png
	$(BIN)/python export.py --model_dir=$(DEMO)/model --export_dir=$(DEMO)/export --version=1 --overwrite
	$(BIN)/python -m mtl_ssl_tf.predict --saved_model $(DEMO)/export --input $(DEMO)/scenes/JPEGImages --input_list $(DEMO)/scenes/ImageSets/Main/val.txt --output_dir $(DEMO)/predictions
	@echo "Predictions: $(DEMO)/predictions   Loss curves: $(DEMO)/curves.png"
	@echo "Training pictures: $(BIN)/tensorboard --logdir $(DEMO)/model"

clean-demo:
	rm -rf $(DEMO)

lock:
	$(PYTHON) -m venv .venv/lock
	.venv/lock/bin/python -m pip install --quiet pip-tools
	CUSTOM_COMPILE_COMMAND="make lock" .venv/lock/bin/pip-compile --quiet --strip-extras --allow-unsafe \
		--no-emit-index-url --no-emit-trusted-host --no-emit-find-links \
		--output-file=requirements.txt requirements.in
	CUSTOM_COMPILE_COMMAND="make lock" .venv/lock/bin/pip-compile --quiet --strip-extras --allow-unsafe \
		--no-emit-index-url --no-emit-trusted-host --no-emit-find-links \
		--output-file=requirements-beam.txt requirements-beam.in
