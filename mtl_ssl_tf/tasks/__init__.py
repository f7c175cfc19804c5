"""Tasks: `mtl_detection.MtlDetectionTask`, whose losses are in `training_losses.py`, and
`co_mining.CoMiningTask`, which has another source of ground truth.
"""
