"""Finds the settings of a run from its data.

suggest.py (the command)
  facts     ground truth -> what settings depend on
  anchors   box sizes -> anchors, and the share of boxes that anchors cover
  choices   facts -> settings, each with its reason
  writing   settings -> a commented YAML file
"""
