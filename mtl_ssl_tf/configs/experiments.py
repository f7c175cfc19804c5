"""Named experiments: `--experiment=mtl_frcnn` is the starting point that a YAML file overrides.

`--experiment=insloc` is another one: pretraining on images without annotations.
"""

from official.core import config_definitions as cfg
from official.core import exp_factory

from mtl_ssl_tf.configs import detector, insloc, training
from mtl_ssl_tf.configs import optimization as optimization_config

# Any other detector differs from it by values alone.
DEFAULT = "mtl_frcnn"
INSLOC = "insloc"


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


@exp_factory.register_config_factory(INSLOC)
def insloc_c4() -> cfg.ExperimentConfig:
  """Pretraining by instance localisation, ResNet-50, 200 epochs of ImageNet, as published.

  The published rate is for batches of 256, falls by a cosine once an epoch and has no warm-up; ours
  falls at every step. An epoch is 5,005 steps.
  """
  optimization = optimization_config.DetectorOptimization(
    {
      "optimizer": {"type": "sgd", "sgd": {"momentum": 0.9, "nesterov": True}},
      "learning_rate": {"type": "cosine", "cosine": {"initial_learning_rate": 0.03}},
    }
  )
  return cfg.ExperimentConfig(
    task=insloc.InsLoc(),
    trainer=training.Trainer(
      optimizer_config=optimization,
      learning_rate_scaling="linear",
      base_batch_size=256,
      train_steps=1_001_000,
      validation_interval=50_050,
      checkpoint_interval=5_000,
      steps_per_loop=20,
      summary_interval=100,
      max_to_keep=3,
      # The probe rises and falls; the schedule decides when a run is over.
      early_stopping_patience=0,
    ),
    runtime=training.Runtime(),
  )
