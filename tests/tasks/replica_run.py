"""One run through the driver: python -m tests.tasks.replica_run FOLDER OVERRIDE MODE [CPUS].

FOLDER holds the records and takes the run; OVERRIDE is YAML; CPUS is a number of logical devices.
"""

import pathlib
import sys

import tensorflow as tf
import yaml

from mtl_ssl_tf.training import driver
from tests.tasks import tiny


def main(folder: str, override: str, mode: str, num_cpus: str = "1") -> None:
  cpu = tf.config.list_physical_devices("CPU")[0]
  devices = [tf.config.LogicalDeviceConfiguration()] * int(num_cpus)
  tf.config.set_logical_device_configuration(cpu, devices)
  settings = yaml.safe_load(override)
  own = pathlib.Path(settings.pop("own_folder"))
  experiment = tiny.experiment(own, settings)
  try:
    driver.run(experiment, mode, folder, validate_data=2)
  except ValueError as error:
    sys.exit(f"error: {error}")


if __name__ == "__main__":
  main(*sys.argv[1:])
