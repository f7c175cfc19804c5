"""From annotation files to training batches.

    sources/            annotation files and images as tools write them
      -> records/       converts them, writes TFRecords and finds them again
        -> pipeline/    records to batches: order, decoding, flips, resizing
        -> composites/  images without annotations to pairs of composites, for pretraining
        -> inspection/  faults and statistics of a data set
        -> ground_truth/  objects and detections as metrics need them
        -> sparse/      training sets with annotations erased on purpose
    synthetic_scenes/   the embedded data set

Next to the folders: the commands that people type (`pascal_voc`, `coco_json`, `beam_conversion`,
`validate`, `browse`, `sparse_annotations`, `synthetic`), and modules for all folders (`schema`,
`label_map`, `faults`, `progress_lines`, `disk_index`).
"""
