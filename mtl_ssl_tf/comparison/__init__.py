"""Compares configurations by training each of them with the same seeds.

compare.py (the command)
  arms        configurations and variants -> arms; what differs between them
  runs        an arm and a seed -> a training in a folder of its own, evaluated along the way
  processes   commands, one on each processor
  outcomes    result files of an evaluation -> hits and misses by image
  statistics  figures by seed -> means, paired differences, intervals
  report      all of it as JSON, Markdown and a page
"""
