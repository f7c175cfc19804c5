"""Tasks: `mtl_detection.MtlDetectionTask`, whose losses are in `training_losses.py`."""
