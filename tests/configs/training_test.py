"""What decides how a run is carried out, and what is refused before it starts."""

import pytest

from mtl_ssl_tf.configs import fields, training, validation


def message(**settings) -> str:
  with pytest.raises(ValueError) as error:
    validation.check_runtime(training.Runtime(**settings))
  return str(error.value)


@pytest.mark.parametrize(
  ("settings", "method"),
  [
    ({}, "native"),
    ({"enable_xla": True}, "matmul"),
    ({"distribution_strategy": "tpu"}, "matmul"),
    ({"distribution_strategy": "mirrored"}, "native"),
    ({"crop_method": "matmul"}, "matmul"),
    ({"crop_method": "native"}, "native"),
  ],
)
def test_crop_method(settings, method):
  runtime = training.Runtime(**settings)
  validation.check_runtime(runtime)
  assert runtime.compiled_crop_method == method


@pytest.mark.parametrize("name", ["crop_method", "mixed_precision_dtype", "distribution_strategy"])
def test_every_choice_passes(name):
  for choice in fields.choices_of(fields.field_of(training.Runtime, name)):
    validation.check_runtime(training.Runtime(**{name: choice}))


@pytest.mark.parametrize(
  ("settings", "expected"),
  [
    (
      {"crop_method": "fast"},
      "runtime.crop_method is 'fast'; accepted: auto, native, matmul",
    ),
    (
      {"mixed_precision_dtype": "float8"},
      "runtime.mixed_precision_dtype is 'float8'; accepted: null, float32, bfloat16, float16",
    ),
    (
      {"distribution_strategy": "parameter_server"},
      "runtime.distribution_strategy is 'parameter_server'; accepted: one_device, mirrored, "
      "multi_worker_mirrored, tpu",
    ),
    (
      {"crop_method": "native", "enable_xla": True},
      "runtime.crop_method is 'native'; accepted: auto or matmul where runtime.enable_xla is true, "
      "because XLA cannot compile the native kernel",
    ),
    (
      {"crop_method": "native", "distribution_strategy": "tpu"},
      "runtime.crop_method is 'native'; accepted: auto or matmul where "
      "runtime.distribution_strategy is 'tpu', because XLA cannot compile the native kernel",
    ),
  ],
)
def test_refused(settings, expected):
  assert message(**settings) == expected


@pytest.mark.parametrize("scale", [0.5, float("nan"), float("inf"), True, "fixed"])
def test_loss_scale_that_scales_nothing(scale):
  kind = "a number, " if scale in (True, "fixed") else ""
  assert message(loss_scale=scale, mixed_precision_dtype="float16") == (
    f"runtime.loss_scale is {scale!r}; accepted: {kind}1.0 to 1,000,000,000.0, or dynamic, or null"
  )


@pytest.mark.parametrize("dtype", [None, "float32", "bfloat16"])
def test_loss_scale_is_for_float16(dtype):
  for scale in ("dynamic", 128, 1.0):
    settings = {"loss_scale": scale}
    validation.check_runtime(training.Runtime(mixed_precision_dtype="float16", **settings))
    assert message(mixed_precision_dtype=dtype, **settings) == (
      f"runtime.loss_scale is {scale!r}; accepted: null unless runtime.mixed_precision_dtype is "
      "float16"
    )
