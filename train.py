"""Trains and evaluates: python train.py --flagfile=configs/flags/NAME.flags --model_dir=DIR."""

from mtl_ssl_tf import command_line, train

if __name__ == "__main__":
  command_line.call("train.py")
  train.run()
