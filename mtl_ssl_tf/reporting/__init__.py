"""One page about a trained detector, for people who would rather look than read.

evaluated.py   the detections: an evaluation's result files, or the checkpoint is evaluated
judged.py      each image's detections against its objects
findings.py    everything that the page tells, as numbers
pairs.py       two runs: their difference, and images in which one corrects the other
pictures.py    images of the records with their boxes, as JPEG
training_logs.py   losses and figures by step
cost_section.py    cost of the auxiliary tasks, and what refinement is worth
charts.py      curves as SVG
sections.py, image_sections.py, page.py   HTML
script.py, style.py   what a browser needs besides
"""
