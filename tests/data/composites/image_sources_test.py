"""A folder of images is another one as soon as any of its files is."""

import os

from mtl_ssl_tf.data.composites import image_sources


def test_the_signature_follows_names_sizes_and_times(tmp_path):
  def signature() -> str:
    return image_sources.FolderImages(str(tmp_path)).signature()

  (tmp_path / "a.jpg").write_bytes(b"one")
  os.utime(tmp_path / "a.jpg", ns=(5, 5))
  seen = [signature()]
  assert signature() == seen[0]
  (tmp_path / "a.jpg").write_bytes(b"two")
  os.utime(tmp_path / "a.jpg", ns=(5, 6))
  seen.append(signature())
  (tmp_path / "a.jpg").write_bytes(b"three")
  os.utime(tmp_path / "a.jpg", ns=(5, 6))
  seen.append(signature())
  (tmp_path / "a.jpg").rename(tmp_path / "b.jpg")
  seen.append(signature())
  (tmp_path / "c.jpg").symlink_to("nowhere")
  seen.append(signature())
  assert len(set(seen)) == 5
