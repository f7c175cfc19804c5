"""From annotation files to training batches.

    sources/            annotation files and images as tools write them
      -> records/       converts them, writes TFRecords and finds them again
        -> pipeline/    records to batches: order, decoding, flips, resizing
        -> inspection/  what is wrong with a data set, and what it is like
        -> ground_truth/  objects and detections as metrics need them
        -> sparse/      training sets with annotations erased on purpose
    synthetic_scenes/   the embedded data set

Beside the rooms: the commands that people type (`pascal_voc`, `coco_json`, `beam_conversion`,
`validate`, `sparse_annotations`, `synthetic`), and what every room may use (`schema`, `label_map`,
`faults`, `progress_lines`, `disk_index`).
"""
