"""Named experiments: `--experiment=mtl_frcnn` is the starting point that a YAML file overrides."""

from official.core import config_definitions as cfg
from official.core import exp_factory

from mtl_ssl_tf.configs import detector, training
from mtl_ssl_tf.configs import optimization as optimization_config

# Any other one differs from it by values alone.
DEFAULT = "mtl_frcnn"


@exp_factory.register_config_factory(DEFAULT)
def mtl_frcnn() -> cfg.ExperimentConfig:
  """Faster R-CNN, ResNet-101, with the three auxiliary tasks and refinement, as published.

  The learning rate is that of one published row, model 52 (VOC07, MobileNet); each row's own is in
  `configs/parts/schedules` and `configs/overlays/released_schedules`.
  """
  optimization = optimization_config.DetectorOptimization(
    {
      "optimizer": {"type": "momentum"},
      "learning_rate": {
        "type": "stepwise",
        "stepwise": {"boundaries": [260_000, 280_000], "values": [1e-3, 1e-4, 1e-5]},
      },
    }
  )
  return cfg.ExperimentConfig(
    task=detector.MtlDetection(),
    trainer=training.Trainer(
      optimizer_config=optimization,
      train_steps=300_000,
      validation_interval=20_000,
      checkpoint_interval=2_000,
      steps_per_loop=20,
      summary_interval=100,
      max_to_keep=3,
    ),
    runtime=training.Runtime(),
  )
