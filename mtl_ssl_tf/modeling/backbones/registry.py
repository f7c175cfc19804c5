"""The backbones by name.

A backbone of your own: a function that takes `(norm_fn, config)` and returns a `base.Backbone`,
under `@registry.register("its_name")`, in a module that is imported before training starts; then
`task.backbone.type: its_name`. `norm_fn(channels, epsilon=..., scale=..., train_affine=...)` makes
the normalisation that the configuration asks for; `config` is `task.backbone`. To have a frozen
normalisation folded, see `base.Backbone.with_conv_norm`.
"""

import functools
from collections.abc import Callable
from typing import Any

from mtl_ssl_tf.modeling.backbones import (
  base,
  efficientnet_lite,
  inception_resnet_v2,
  layers,
  mobilenet_v1,
  resnet,
)
from mtl_ssl_tf.reading import quoting

Builder = Callable[[layers.NormFn, Any], base.Backbone]
_BUILDERS: dict[str, Builder] = {}


def register(name: str) -> Callable[[Builder], Builder]:
  """Decorates the builder of a backbone.

  Raises:
    ValueError: if the name is taken.
  """

  def add(builder: Builder) -> Builder:
    if name in _BUILDERS:
      raise ValueError(
        f"backbone {quoting.shown(name)} is registered already; accepted: another name"
      )
    _BUILDERS[name] = builder
    return builder

  return add


def names() -> list[str]:
  """Returns the names of all backbones."""
  return sorted(_BUILDERS)


def check(name: str) -> None:
  """Refuses an unknown backbone.

  Raises:
    ValueError: naming the field, the value and those accepted.
  """
  if name not in _BUILDERS:
    raise ValueError(f"task.backbone.type is {quoting.shown(name)}; accepted: {', '.join(names())}")


def build(name: str, norm_fn: layers.NormFn, config: Any) -> base.Backbone:
  """Returns the backbone of that name; raises ValueError as `check` does."""
  check(name)
  return _BUILDERS[name](norm_fn, config)


@register("mobilenet_v1")
def _mobilenet_v1(norm_fn, config):
  return mobilenet_v1.MobileNetV1(
    norm_fn, config.depth_multiplier, config.fused_stage2, config.recompute
  )


def _resnet(name: str, unit: type[resnet.Unit], accepted: tuple[str, ...]) -> Builder:
  """The builder of a ResNet, which refuses a layout that is not accepted."""

  def build_resnet(norm_fn, config):
    if config.layout not in accepted:
      raise ValueError(
        f"task.backbone.layout is {quoting.shown(config.layout)}; accepted with {name}:"
        f" {', '.join(accepted)}"
      )
    return resnet.ResNet(
      norm_fn,
      resnet.UNITS[name],
      name.replace("_", "_v1_"),
      config.layout,
      config.recompute,
      unit=unit,
    )

  return build_resnet


for _depth in (18, 34):
  register(f"resnet_{_depth}")(_resnet(f"resnet_{_depth}", resnet.BasicBlock, ("torchvision",)))
for _depth in (50, 101):
  register(f"resnet_{_depth}")(_resnet(f"resnet_{_depth}", resnet.Bottleneck, resnet.LAYOUTS))


@register("inception_resnet_v2")
def _inception_resnet_v2(norm_fn, config):
  return inception_resnet_v2.InceptionResNetV2(norm_fn, recompute=config.recompute)


def _efficientnet_lite(name, norm_fn, config):
  factors = efficientnet_lite.FACTORS[name]
  return efficientnet_lite.EfficientNetLite(norm_fn, name, *factors, config.recompute)


for _name in efficientnet_lite.FACTORS:
  register(_name)(functools.partial(_efficientnet_lite, _name))
