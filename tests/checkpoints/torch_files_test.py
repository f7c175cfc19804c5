"""PyTorch's files become arrays; nothing in them is run, and no size in them is believed."""

import io
import pickle
import struct
import zipfile

import numpy as np
import pytest

from mtl_ssl_tf.checkpoints import torch_files, torch_pickle
from tests.checkpoints import torch_writer as writer

# 0 ... 5 as [2, 3].
SIX = np.arange(6, dtype="<f4")
WEIGHT = writer.tensor(writer.storage("Float", "0", 6), (2, 3), (3, 1))


def write(path, body, storages, form):
  """Either form, from key -> array."""
  if form == "zip":
    return writer.zip_file(path, body, {key: array.tobytes() for key, array in storages.items()})
  return writer.legacy_file(
    path, body, {key: (array.size, array.tobytes()) for key, array in storages.items()}
  )


def read_error(path) -> str:
  """The message, which names the file first."""
  with pytest.raises(ValueError) as caught:
    torch_files.read_state_dict(path)
  message = str(caught.value)
  assert message.startswith(f"{path!r} ") and "\n" not in message
  return message.removeprefix(f"{path!r} ")


@pytest.fixture(params=["zip", "legacy"])
def form(request):
  return request.param


class TestBothForms:
  def test_two_tensors(self, tmp_path, form):
    bias = writer.tensor(writer.storage("Double", "1", 2), (2,), (1,))
    body = writer.mapping({"conv.weight": WEIGHT, "conv.bias": bias})
    path = write(tmp_path / "w.pth", body, {"0": SIX, "1": np.array([0.5, -2.0])}, form)
    arrays = torch_files.read_state_dict(path)
    assert list(arrays) == ["conv.weight", "conv.bias"]
    np.testing.assert_array_equal(arrays["conv.weight"], [[0, 1, 2], [3, 4, 5]])
    np.testing.assert_array_equal(arrays["conv.bias"], [0.5, -2.0])
    assert (arrays["conv.weight"].dtype, arrays["conv.bias"].dtype) == (np.float32, np.float64)

  def test_offsets_strides_and_a_shared_storage(self, tmp_path, form):
    # 0 1 2 3 4 5: transposed, its last three, one of them, and every other one.
    shared = writer.storage("Float", "0", 6)
    body = writer.mapping(
      {
        "transposed": writer.tensor(shared, (3, 2), (1, 3)),
        "end": writer.tensor(shared, (3,), (1,), offset=3),
        "scalar": writer.tensor(shared, (), (), offset=5),
        "row": writer.tensor(shared, (1, 3), (10**12, 2)),
        "empty": writer.tensor(shared, (0, 30), (30, 1), offset=9),
      }
    )
    arrays = torch_files.read_state_dict(write(tmp_path / "w.pt", body, {"0": SIX}, form))
    np.testing.assert_array_equal(arrays["transposed"], [[0, 3], [1, 4], [2, 5]])
    np.testing.assert_array_equal(arrays["end"], [3, 4, 5])
    assert arrays["scalar"] == 5 and arrays["scalar"].shape == ()
    np.testing.assert_array_equal(arrays["row"], [[0, 2, 4]])
    assert arrays["empty"].shape == (0, 30)
    assert np.shares_memory(arrays["transposed"], arrays["end"])
    assert not arrays["end"].flags.writeable

  @pytest.mark.parametrize(
    ("kind", "given", "expected"),
    [
      ("Half", np.array([1.5, -2], "<f2"), np.float16),
      # The upper halves of float32 1.5 and -2.
      ("BFloat16", np.array([0x3FC0, 0xC000], "<u2"), np.float32),
      ("Long", np.array([2**40, -2], "<i8"), np.int64),
      ("Int", np.array([2**30, -2], "<i4"), np.int32),
      ("Short", np.array([2**14, -2], "<i2"), np.int16),
      ("Char", np.array([100, -2], "i1"), np.int8),
      ("Byte", np.array([200, 2], "u1"), np.uint8),
      ("Bool", np.array([0, 1], "u1"), np.bool_),
    ],
  )
  def test_types(self, tmp_path, form, kind, given, expected):
    body = writer.mapping({"t": writer.tensor(writer.storage(kind, "0", 2), (2,), (1,))})
    array = torch_files.read_state_dict(write(tmp_path / "w.pth", body, {"0": given}, form))["t"]
    assert array.dtype == expected
    np.testing.assert_array_equal(array, [1.5, -2] if kind == "BFloat16" else given)

  def test_attributes_parameters_and_early_tensors(self, tmp_path, form):
    tensor = writer.call(
      "torch._utils",
      "_rebuild_tensor",
      writer.storage("Float", "0", 6),
      writer.number(0),
      writer.call("torch", "Size", writer.numbers((6,))),
      writer.numbers((1,)),
    )
    state = writer.items(b"\x88", b"\x89", writer.call("collections", "OrderedDict"))
    body = writer.mapping(
      {
        "early": tensor,
        "parameter": writer.call("torch._utils", "_rebuild_parameter", WEIGHT, b"\x88", b"N"),
        "variable": writer.call("torch.nn.parameter", "Parameter", WEIGHT) + state + b"b",
      }
    )
    metadata = b"}(" + writer.text("_metadata") + b"}u"
    path = write(tmp_path / "w.pth", body + metadata + b"b", {"0": SIX}, form)
    arrays = torch_files.read_state_dict(path)
    assert {name: array.shape for name, array in arrays.items()} == {
      "early": (6,),
      "parameter": (2, 3),
      "variable": (2, 3),
    }

  @pytest.mark.parametrize("wrapper", torch_files.WRAPPERS)
  def test_wrapped_and_parallel(self, tmp_path, form, wrapper):
    inner = writer.mapping({"module.conv.weight": WEIGHT, "module.step": writer.number(3)})
    body = writer.mapping({"best": WEIGHT, "epoch": writer.number(3), wrapper: inner})
    path = write(tmp_path / "w.pth", body, {"0": SIX}, form)
    assert list(torch_files.read_state_dict(path)) == ["conv.weight"]
    twice = writer.mapping({"model": body})
    path = write(tmp_path / "w.pth", twice, {"0": SIX}, form)
    assert list(torch_files.read_state_dict(path)) == ["conv.weight"]

  def test_a_prefix_of_some_stays(self, tmp_path, form):
    body = writer.mapping({"module.conv": WEIGHT, "fc": WEIGHT})
    path = write(tmp_path / "w.pth", body, {"0": SIX}, form)
    assert list(torch_files.read_state_dict(path)) == ["module.conv", "fc"]

  @pytest.mark.parametrize(
    ("body", "found"),
    [
      (writer.mapping({"epoch": writer.number(3), "loss": b"N"}), "'epoch', 'loss'"),
      (writer.mapping({}), "nothing"),
      (WEIGHT, "a Tensor"),
      (writer.mapping({"a": writer.mapping({"model": writer.mapping({"w": WEIGHT})})}), "'a'"),
    ],
  )
  def test_no_tensors_by_name(self, tmp_path, form, body, found):
    storages = {"0": SIX} if WEIGHT in body else {}
    message = read_error(write(tmp_path / "w.pth", body, storages, form))
    assert message.startswith(f"has no tensors by name; it has {found}; accepted: a state dict, ")

  @pytest.mark.parametrize(
    "tensor",
    [
      {"shape": (7,), "strides": (1,)},
      {"shape": (2, 3), "strides": (4, 1)},
      {"shape": (3,), "strides": (1,), "offset": 4},
      {"shape": (3,), "strides": (-1,), "offset": 2},
      {"shape": (3,), "strides": (1,), "offset": -1},
      {"shape": (-1, -6), "strides": (1, 1)},
      {"shape": (6,), "strides": (1, 1)},
      {"shape": (7,), "strides": (0,)},
      {"shape": (6, 6), "strides": (0, 1)},
      {"shape": (2**62, 0), "strides": (1, 1)},
      {"shape": (2,), "strides": (2**80,)},
      {"shape": (0, -1), "strides": (1, 1)},
      {"shape": (1,) * 33, "strides": (1,) * 33},
    ],
  )
  def test_a_tensor_outside_of_its_storage(self, tmp_path, form, tensor):
    body = writer.mapping({"conv": writer.tensor(writer.storage("Float", "0", 6), **tensor)})
    message = read_error(write(tmp_path / "w.pth", body, {"0": SIX}, form))
    assert message in (
      "is damaged: 'conv' has a shape that its storage of 6 elements cannot have",
      "is damaged: 'conv' has elements beyond the end of its storage",
    )

  @pytest.mark.parametrize("size", [7, 2**40, 2**70, -1])
  def test_a_storage_larger_than_the_file(self, tmp_path, form, size):
    body = writer.mapping({"conv": writer.tensor(writer.storage("Float", "0", size), (2,), (1,))})
    if form == "zip":
      path = writer.zip_file(tmp_path / "w.pth", body, {"0": SIX.tobytes()})
    else:
      claimed = size if -(2**63) <= size < 2**63 else 6
      path = writer.legacy_file(tmp_path / "w.pth", body, {"0": (claimed, SIX.tobytes())})
    assert "storage" in read_error(path)

  def test_missing_storages(self, tmp_path, form):
    body = writer.mapping({"conv": WEIGHT})
    message = read_error(write(tmp_path / "w.pth", body, {}, form))
    assert message in ("is damaged: 'data/0' is missing", "is damaged: storage '0' is missing")

  def test_every_cut_is_one_error(self, tmp_path, form):
    path = write(tmp_path / "w.pth", writer.mapping({"conv": WEIGHT}), {"0": SIX}, form)
    with open(path, "rb") as file:
      data = file.read()
    for length in range(0, len(data), 3):
      with open(path, "wb") as file:
        file.write(data[:length])
      read_error(path)

  def test_every_changed_byte_is_read_or_one_error(self, tmp_path, form):
    path = write(tmp_path / "w.pth", writer.mapping({"conv": WEIGHT}), {"0": SIX}, form)
    with open(path, "rb") as file:
      data = file.read()
    for place in range(len(data)):
      for changed in (data[place] ^ 0x01, data[place] ^ 0x80, 0xFF):
        with open(path, "wb") as file:
          file.write(data[:place] + bytes([changed]) + data[place + 1 :])
        try:
          assert len(torch_files.read_state_dict(path)) == 1
        except ValueError as error:
          assert str(error).startswith(f"{path!r} ")


class TestZip:
  def test_big_endian(self, tmp_path):
    storages = {"0": SIX.astype(">f4").tobytes()}
    path = writer.zip_file(tmp_path / "w.pth", writer.mapping({"a": WEIGHT}), storages, "big")
    array = torch_files.read_state_dict(path)["a"]
    np.testing.assert_array_equal(array, SIX.reshape(2, 3))
    assert array.dtype.isnative

  def test_an_unknown_byte_order(self, tmp_path):
    path = writer.zip_file(
      tmp_path / "w.pth", writer.mapping({"a": WEIGHT}), {"0": SIX.tobytes()}, "middle"
    )
    assert read_error(path) == "has byte order b'middle'; accepted: little or big"

  def test_compressed_members_are_refused(self, tmp_path):
    # A million zeros in a kilobyte.
    storage = writer.tensor(writer.storage("Byte", "0", 10**6), (10**6,), (1,))
    path = writer.zip_file(
      tmp_path / "w.pth",
      writer.mapping({"a": storage}),
      {"0": bytes(10**6)},
      compression=zipfile.ZIP_DEFLATED,
    )
    assert read_error(path) == (
      "has 'weights/data.pkl' compressed or encrypted; accepted: as torch.save stores it"
    )

  def test_members_over_each_other(self, tmp_path):
    # Three directory entries that point to the same bytes.
    names = [str(i) for i in range(3)]
    tensors = {
      name: writer.tensor(writer.storage("Byte", name, 900), (900,), (1,)) for name in names
    }
    path = tmp_path / "w.pth"
    writer.zip_file(path, writer.mapping(tensors), {name: bytes(900) for name in names})
    data = path.read_bytes()
    first, second, third = (data.index(f"weights/data/{name}".encode()) - 30 for name in names)
    entries = bytearray(data)
    for start in (second, third):
      entries[start : start + 4] = b"gone"
      pointer = data.rindex(struct.pack("<I", start))
      entries[pointer : pointer + 4] = struct.pack("<I", first)
    entries = entries[:second] + entries[data.index(b"PK\x01\x02") :]
    end = entries.rindex(b"PK\x05\x06")
    directory = entries.index(b"PK\x01\x02")
    entries[end + 16 : end + 20] = struct.pack("<I", directory)
    path.write_bytes(bytes(entries))
    assert read_error(str(path)) == "is damaged: its storages lie over each other"

  def test_too_many_members(self, tmp_path):
    path = tmp_path / "w.pth"
    path.write_bytes(b"PK\x03\x04" + b"PK\x01\x02" * 20_001)
    assert read_error(str(path)) == "is a zip archive of more than 20000 files"

  def test_torchscript_is_refused(self, tmp_path):
    body, constants = writer.mapping({"a": WEIGHT}), {"constants.pkl": b""}
    path = writer.zip_file(tmp_path / "w.pt", body, {"0": SIX.tobytes()}, **constants)
    message = read_error(path)
    assert message.startswith("is a TorchScript program; it has e.g. 'weights/constants.pkl'; ")

  def test_another_archive(self, tmp_path):
    path = tmp_path / "w.pth"
    with zipfile.ZipFile(path, "w") as archive:
      archive.writestr("photographs/1.jpg", b"")
    assert read_error(str(path)) == (
      "is a zip archive, but not of torch.save; it has e.g. 'photographs/1.jpg'; accepted: "
      "torch.save(model.state_dict(), path)"
    )

  def test_a_changed_weight(self, tmp_path):
    path = tmp_path / "w.pth"
    writer.zip_file(path, writer.mapping({"a": WEIGHT}), {"0": SIX.tobytes()})
    path.write_bytes(path.read_bytes().replace(SIX.tobytes(), (SIX + 1).tobytes()))
    assert read_error(str(path)) == (
      "is damaged: 'weights/data/0' has another checksum than the archive has for it"
    )

  def test_no_checksums(self, tmp_path):
    path = tmp_path / "w.pth"
    writer.zip_file(path, writer.mapping({"a": WEIGHT}), {"0": SIX.tobytes()})
    data = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
      for info in archive.infolist():
        data = data.replace(struct.pack("<I", info.CRC), bytes(4))
    path.write_bytes(data)
    np.testing.assert_array_equal(torch_files.read_state_dict(str(path))["a"].ravel(), SIX)


class TestLegacy:
  def test_a_part_of_a_storage(self, tmp_path):
    part = writer.items(writer.text("1"), writer.number(2), writer.number(4))
    tensor = writer.tensor(writer.storage("Float", "0", 6, part), (2,), (2,), offset=1)
    whole = writer.tensor(writer.storage("Float", "0", 6, b"N"), (6,), (1,))
    body = writer.mapping({"part": tensor, "whole": whole})
    path = write(tmp_path / "w.pth", body, {"0": SIX}, "legacy")
    arrays = torch_files.read_state_dict(path)
    np.testing.assert_array_equal(arrays["part"], [3, 5])
    np.testing.assert_array_equal(arrays["whole"], SIX)

  def test_storages_in_another_order(self, tmp_path):
    second = writer.tensor(writer.storage("Long", "b", 1), (1,), (1,))
    body = writer.mapping({"first": WEIGHT, "second": second})
    path = write(tmp_path / "w.pth", body, {"b": np.array([7]), "0": SIX}, "legacy")
    arrays = torch_files.read_state_dict(path)
    np.testing.assert_array_equal(arrays["first"], SIX.reshape(2, 3))
    np.testing.assert_array_equal(arrays["second"], [7])

  @pytest.mark.parametrize(
    ("keys", "message"),
    [
      (["0", "1"], "is damaged: no tensor has storage '1'"),
      ([], "is damaged: storage '0' is missing"),
    ],
  )
  def test_wrong_keys(self, tmp_path, keys, message):
    body, storages = writer.mapping({"a": WEIGHT}), {"0": (6, SIX.tobytes())}
    assert read_error(writer.legacy_file(tmp_path / "w.pth", body, storages, keys)) == message

  def test_another_size_than_the_pickle_has(self, tmp_path):
    body, storages = writer.mapping({"a": WEIGHT}), {"0": (5, SIX.tobytes())}
    message = read_error(writer.legacy_file(tmp_path / "w.pth", body, storages))
    assert message == "is damaged: storage '0' has 5 elements, or 6"

  def test_other_pickles(self, tmp_path):
    path = tmp_path / "w.pth"
    path.write_bytes(pickle.dumps(3, 2) + pickle.dumps(1001, 2))
    assert read_error(str(path)).startswith("is a pickle, but not of torch.save")

  @pytest.mark.parametrize("content", [b"", b"\x89HDF\r\n", b"ustar"])
  def test_other_files(self, tmp_path, content):
    path = tmp_path / "w.pth"
    path.write_bytes(content)
    assert read_error(str(path)).startswith("is no file of torch.save")

  def test_no_file(self, tmp_path):
    assert read_error(str(tmp_path / "w.pth")).startswith("cannot be read (")
    assert read_error(str(tmp_path)).startswith("cannot be read (")


def load(body: bytes):
  return torch_pickle.load(io.BytesIO(writer.program(body)))[0]


class TestPickle:
  @pytest.mark.parametrize("protocol", [2, 3, 4, 5])
  def test_plain_values(self, protocol):
    value = {"a": [1, -70000, 2**60, 1.5, None, True, False], "b": ((), (1,), (1, 2), (1, 2, 3))}
    value["c"] = (1, 2, 3, "4", [], {}, value["a"], {1: {None: "x" * 300}})
    if protocol > 2:
      value[b"d"] = b"5" * 300
    assert torch_pickle.load(io.BytesIO(pickle.dumps(value, protocol)))[0] == value

  def test_the_position_after_it(self):
    file = io.BytesIO(pickle.dumps(1, 2) + pickle.dumps("b", 2))
    assert [torch_pickle.load(file)[0], torch_pickle.load(file)[0]] == [1, "b"]

  @pytest.mark.parametrize(
    "body",
    [
      writer.call("os", "system", writer.text("echo")),
      writer.call("builtins", "eval", writer.text("1")),
      writer.call("torch", "load", writer.text("x")),
      writer.text("os") + writer.text("system") + b"\x93",
      writer.named("argparse", "Namespace") + b")\x81",
      writer.named("torch.nn.modules.conv", "Conv2d"),
      writer.named("torch", "FloatTensor"),
      writer.named("numpy.core.multiarray", "_reconstruct"),
    ],
  )
  def test_other_names_are_refused_by_name(self, body):
    with pytest.raises(ValueError, match=r"^names '[\w.]+'; accepted: tensors, plain values and"):
      load(body)

  def test_a_name_of_any_length_and_letters(self):
    with pytest.raises(ValueError) as caught:
      load(writer.text("\n\u202e" * 9999) + writer.text("x") + b"\x93")
    assert len(str(caught.value)) < 1000 and str(caught.value).isascii()

  def test_another_protocol_is_refused(self):
    with pytest.raises(ValueError, match=r"^has a pickle of protocol 6; accepted: up to 5$"):
      load(b"\x80\x06N")

  @pytest.mark.parametrize(
    ("body", "instruction"),
    [
      (b"i__main__\nA\n", "INST"),
      (b"(o", "OBJ"),
      (b")\x81", "NEWOBJ"),
      (b"\x82\x01", "EXT1"),
      (b"P1\n", "PERSID"),
      (b"2", "DUP"),
      (b"\x8f", "EMPTY_SET"),
      (b"I1\n", "INT"),
      (b"\x8b\x01\x00\x00\x00\x01", "LONG4"),
      (b"\x96" + bytes(8), "BYTEARRAY8"),
    ],
  )
  def test_other_instructions_are_refused(self, body, instruction):
    with pytest.raises(ValueError, match=f"^has the pickle instruction {instruction}; accepted: "):
      load(body)

  @pytest.mark.parametrize(
    "body",
    [
      b"",  # Nothing to return.
      b"t",  # No mark.
      b"a",
      b"h\x05",  # Nothing under 5.
      b"q\x00",
      writer.number(1) + writer.number(2) + b"a",  # Appends to a number.
      b"](" + writer.number(1) + b"u",  # Sets items of a list.
      b"}(" + writer.number(1) + b"u",  # A key without a value.
      b"})" + writer.number(1) + b"s",  # A key that is a tuple.
      b"}()" + writer.number(1) + b"u",
      writer.number(1) + b")R",  # Calls a number.
      writer.named("torch", "FloatStorage") + b")R",
      writer.named("collections", "OrderedDict") + b"]R",
      writer.call("collections", "OrderedDict", b"]"),
      writer.call("torch", "Size", writer.number(1)),
      writer.call("torch._utils", "_rebuild_parameter", writer.number(1)),
      writer.call("torch._utils", "_rebuild_parameter"),
      writer.call("torch._utils", "_rebuild_tensor_v2"),
      writer.tensor(writer.number(1), (1,), (1,)),
      writer.call(
        "torch._utils",
        "_rebuild_tensor",
        writer.storage("Float", "0", 1),
        writer.number(0),
        writer.items(writer.text("1")),
        writer.numbers((1,)),
      ),
      b"]}b",  # Attributes of a list.
      b"1Q",
      writer.text("x") + b"Q",
      writer.items(writer.text("storage")) + b"Q",
      writer.items(writer.text("module"), b"]", b"]", b"]", b"]") + b"Q",
      writer.items(
        writer.text("storage"),
        writer.named("torch", "Size"),
        writer.text("0"),
        writer.text("cpu"),
        writer.number(1),
      )
      + b"Q",
      writer.storage("Float", "0", 1, writer.number(1)),
      writer.storage("Float", "0", 1, writer.items(writer.text("1"), writer.number(1))),
      writer.items(writer.storage("Float", "0", 1), writer.storage("Float", "0", 2)),
      writer.items(writer.storage("Float", "0", 1), writer.storage("Int", "0", 1)),
      writer.number(1) + b"\x93",
      b"X\xff\xff\xff\xff",  # Four gigabytes of text.
      b"\x8d" + b"\xff" * 8,
      b"X\x01\x00\x00\x00\xff",  # No UTF-8.
      b"\xff",
    ],
  )
  def test_damaged(self, body):
    with pytest.raises(ValueError, match=r"^[^\n]+$"):
      load(body)

  def test_growth_by_references_costs_nothing(self):
    # Thirty tuples, each of ten times the one before; then a list in itself, ten thousand deep.
    body = b")q\x00" + b"".join(b"(" + b"h\x00" * 10 + b"tq\x00" for _ in range(30))
    assert len(load(body)) == 10
    with pytest.raises(ValueError, match="tuple instead of str or bytes or int"):
      load(b"}" + body + b"Ns")  # To hash it would not end.
    assert len(load(b"]q\x00h\x00a" + b"](" * 10_000 + b"e" * 10_000 + b"a")) == 2

  def test_the_number_of_instructions_is_bounded(self, monkeypatch):
    monkeypatch.setattr(torch_pickle, "MAX_INSTRUCTIONS", 10)
    assert load(b"N" * 8) is None
    with pytest.raises(ValueError, match=r"^has a pickle of more than 10 instructions$"):
      load(b"N" * 9)

  def test_a_memo_of_any_index(self):
    assert load(b"Nr\xff\xff\xff\xff") is None
