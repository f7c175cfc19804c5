import pytest

from mtl_ssl_tf.modeling.backbones import base


def test_a_stage_decays_nothing_unless_it_says_so():
  assert base.Stage().decayed_kernels == []


def test_a_stage_without_slim_names_says_so():
  with pytest.raises(NotImplementedError):
    base.Stage().named_layers()


@pytest.mark.parametrize("missing", ["preprocess", "make_stage1", "make_stage2"])
def test_a_backbone_must_have_all_parts(missing):
  parts = {"preprocess": None, "make_stage1": None, "make_stage2": None}
  assert type("Whole", (base.Backbone,), parts)().stride == 16
  del parts[missing]
  with pytest.raises(TypeError, match=missing):
    type("Partial", (base.Backbone,), parts)()
