"""PNGs whose opacities are not those of their colours; decoders disagree about them.

`tRNS` states the opacity of the first colours of the palette, at most of all of them, and stands
between palette and pixels. Without a palette it states the one grey or colour that is transparent,
by two bytes a channel (PNG, third edition, 5.6 and 11.3.1.1). Elsewhere, or of another length,
Pillow uses what it finds, and libpng, TensorFlow's decoder, nothing. Of a depth other than 8 bits
Pillow compares the colour with pixels that it has changed to 8 bits.
"""

from mtl_ssl_tf.data.sources import png_chunks

# Offset of the byte in the file, and its values.
COLOUR_TYPE, OF_GREYS, OF_COLOURS, OF_PALETTE = 25, 0, 2, 3
COLOUR_BYTES = 3
# Of the transparent grey or colour.
CLEAR_BYTES = {OF_GREYS: 2, OF_COLOURS: 6}
VALUE = "a PNG that states opacities out of place, or of other colours than it has"
ACCEPTED = "of its colours, between palette and pixels"


def has_clear_colour(content: bytes) -> bool:
  """Whether a PNG without a palette states that a colour is transparent."""
  return content[COLOUR_TYPE] in CLEAR_BYTES and b"tRNS" in content


def has_odd_opacities(content: bytes) -> bool:
  """Whether a PNG, whole or not, states opacities as `VALUE` says."""
  # Few state any, and a large file has thousands of chunks.
  if b"tRNS" not in content or content[COLOUR_TYPE] not in (OF_PALETTE, *CLEAR_BYTES):
    return False
  wanted = CLEAR_BYTES.get(content[COLOUR_TYPE])
  sizes: dict[bytes, int] = {}
  for name, size, _ in png_chunks.chunks(content):
    if name == b"tRNS":
      is_odd = COLOUR_BYTES * size > sizes.get(b"PLTE", 0) if wanted is None else size != wanted
      return is_odd or b"IDAT" in sizes
    sizes.setdefault(name, size)
  return False
