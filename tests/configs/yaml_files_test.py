"""Files put together from others."""

import pytest

from mtl_ssl_tf.configs import yaml_files


def write(folder, **files):
  """Files by the name before their ending."""
  for name, text in files.items():
    (folder / f"{name}.yaml").write_text(text)


def read(path):
  return [(layer.source, layer.fields) for layer in yaml_files.read(str(path))]


def message(path) -> str:
  with pytest.raises(ValueError) as error:
    yaml_files.read(str(path))
  return str(error.value)


def test_without_bases(tmp_path):
  write(tmp_path, a="task: {seed: 1}")
  assert read(tmp_path / "a.yaml") == [(f"{tmp_path}/a.yaml", {"task": {"seed": 1}})]


def test_bases_come_first_in_their_order(tmp_path):
  write(tmp_path, a="{base: [b.yaml, c.yaml], x: 1}", b="{base: d.yaml, x: 2}", c="x: 3", d="x: 4")
  sources = [
    (f"{tmp_path}/{name}.yaml", {"x": x}) for name, x in zip("dbca", (4, 2, 3, 1), strict=True)
  ]
  assert read(tmp_path / "a.yaml") == sources


def test_a_base_reached_twice_counts_once(tmp_path):
  # Otherwise what b changes about d would be undone by c.
  write(tmp_path, a="base: [b.yaml, c.yaml]", b="base: d.yaml", c="base: d.yaml", d="x: 1")
  assert [source[-6:] for source, _ in read(tmp_path / "a.yaml")] == [
    "d.yaml",
    "b.yaml",
    "c.yaml",
    "a.yaml",
  ]


def test_paths_start_from_the_files_own_folder(tmp_path, monkeypatch):
  for folder in ("mine", "parts/models"):
    (tmp_path / folder).mkdir(parents=True)
  write(tmp_path / "mine", a=f"base: [../parts/b.yaml, {tmp_path}/parts/models/c.yaml]")
  write(tmp_path / "parts", b="base: models/c.yaml")
  write(tmp_path / "parts" / "models", c="x: 1")
  expected = [f"{tmp_path}/{name}.yaml" for name in ("parts/models/c", "parts/b", "mine/a")]
  assert [source for source, _ in read(tmp_path / "mine" / "a.yaml")] == expected
  monkeypatch.chdir(tmp_path / "parts")
  assert [source for source, _ in read("b.yaml")] == ["models/c.yaml", "b.yaml"]


@pytest.mark.parametrize("base", ["3", "[a, 3]", "{a: b}", "null", "['']", "''"])
def test_no_list_of_files(tmp_path, base):
  write(tmp_path, a=f"base: {base}")
  found = message(tmp_path / "a.yaml")
  assert found.startswith(f"{tmp_path}/a.yaml: field 'base' is ")
  assert found.endswith("; accepted: a list of YAML files")


def test_missing_base(tmp_path):
  write(tmp_path, a="base: b.yaml", b="base: [c.yaml]")
  assert message(tmp_path / "a.yaml") == (
    f"{tmp_path}/b.yaml: field 'base' names {tmp_path}/c.yaml: cannot be read (No such file or"
    " directory)"
  )


def test_circle(tmp_path):
  write(tmp_path, a="base: b.yaml", b="base: c.yaml", c="base: b.yaml")
  b, c = f"{tmp_path}/b.yaml", f"{tmp_path}/c.yaml"
  assert message(tmp_path / "a.yaml") == (
    f"{c}: field 'base' leads back to itself: {b} -> {c} -> {b}"
  )
  write(tmp_path, a="base: a.yaml")
  assert "field 'base' leads back to itself" in message(tmp_path / "a.yaml")


def test_base_that_is_no_yaml(tmp_path):
  write(tmp_path, a="base: b.yaml", b="task: [")
  assert message(tmp_path / "a.yaml").startswith(f"{tmp_path}/b.yaml: not YAML (")


def test_a_file_alone_reads_no_other(tmp_path):
  write(tmp_path, a="{x: 1}", b="{base: a.yaml, x: 2}")
  path = str(tmp_path / "a.yaml")
  assert yaml_files.read_alone(path) == (path, {"x": 1})
  with pytest.raises(ValueError, match=r"b.yaml: field 'base' is 'a.yaml'; accepted: none, as in"):
    yaml_files.read_alone(str(tmp_path / "b.yaml"))
  with pytest.raises(ValueError, match=r"c.yaml: cannot be read \(No such file or directory\)$"):
    yaml_files.read_alone(str(tmp_path / "c.yaml"))
