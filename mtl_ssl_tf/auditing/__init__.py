"""Finds objects that annotations lack, and boxes that are probably wrong, with a detector's help.

audit_labels.py (the command)
  inputs         records, a VOC folder or a COCO file -> records, annotations
  detectors      a run, or detectors trained on the rest of the images -> detections
  places         detections and annotated boxes of one image, paired; how far they overlap others
  calibration    scores -> probabilities, fitted on annotations of which an unknown share is missing
  doubts         annotated boxes: how far placement is off, and whether anything is there
  candidates     all of it -> the list, the most probable first
  listing        the list as JSON and CSV; decisions about it
  page, script, pictures   the page on which they are made
  exports        files for CVAT and Label Studio
  corrections    corrected annotations
  ignoring       figures that count probably missing objects neither way
"""
