from mtl_ssl_tf.checkpoints import report


def test_text():
  text = report.Report(["a", "b"], ["c", "d", "e"], ["f"], ["g"]).text(limit=2)
  assert text.splitlines() == [
    "loaded: 2",
    "copied from the main head: 1",
    "  g",
    "left as initialised: 3",
    "  c",
    "  d",
    "  ... and 1 more",
    "in the file, but not used: 1",
    "  f",
  ]


def test_all_names():
  names = [f"n{i:02d}" for i in range(30)]
  lines = report.Report([], names, []).text(limit=None).splitlines()
  assert [line.strip() for line in lines if line.startswith(" ")] == names
