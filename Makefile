# Everything runs in .venv, which is made once and again whenever requirements.txt changes.
#
#   make demo    the whole path on the embedded data set; results in runs/demo
#   make test    format, lint and tests
#   make beam    adds Apache Beam, for conversions on many machines
#   make lock    the pinned requirements from requirements.in and requirements-beam.in

PYTHON ?= python3.11
BIN := .venv/bin
READY := .venv/.ready
BEAM_READY := .venv/.beam_ready

# TensorFlow's start-up notices hide what a run has to say.
export TF_CPP_MIN_LOG_LEVEL ?= 2
export PYTHONUNBUFFERED := 1

DEMO := runs/demo

.PHONY: setup beam demo test lock clean-demo

setup: $(READY)

$(READY): requirements.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

beam: $(BEAM_READY)

$(BEAM_READY): requirements-beam.txt $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-beam.txt
	touch $@

test: $(BEAM_READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

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
