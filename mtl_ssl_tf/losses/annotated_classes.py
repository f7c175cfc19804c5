"""Cross entropy on images that are annotated for some of the classes alone.

A softmax head gives one distribution p over background and all C - 1 classes. Let U be the classes
that an image is not annotated for. A box around an annotated object is what its label says. A box
without a label is not known to be background: it is background or an object of U. The likelihood
of what has been observed, "no label", is therefore the sum

    p(background) + sum of p(u) over u in U,

and its negative logarithm is the loss. It is the maximum likelihood for labels that name a set of
classes (Cour et al., "Learning from Partial Labels", JMLR 2011), and its expectation is smallest
where p is the true distribution:  for each annotated class, and for the rest as a whole. Its
gradient never lowers the score of a class of U, and divides what it raises between background and
U as p already does, so that the decision between them is left to images that are annotated for u.

With sigmoid heads, as of federated data sets (Gupta et al., "LVIS", CVPR 2019; the federated loss
of Zhou et al., "Probabilistic two-stage detection", 2021), the same likelihood leaves out the
columns of U: each class has a distribution of its own, whose sum over the unknown outcome is 1. In
a softmax the columns are not independent. Taking U out of the normaliser would maximise
p(background) / (p(background) + p(annotated)). That is the likelihood given that the box is no
object of U, which is not known. An unlabelled object of U that resembles an annotated class would
raise the background there, also against U. Shi et al. ("Marginal loss and exclusion loss for
partially supervised multi-organ segmentation", Medical Image Analysis 2021) and Cermelli et al.
("Modeling the Background for Incremental Learning in Semantic Segmentation", CVPR 2020) sum as we
do.

Positive boxes keep the full softmax, where the sum changes nothing: a box that is labelled as an
annotated class is no object of U. A class of U may have a label all the same, where a mined box or
another part of a composed image brings it: it is then a class of its own in that row.

Letters: `C` classes with the background, which is class 0.
"""

import tensorflow as tf

# A logit that no softmax gives any share; products with a label of 0 stay finite.
_NEVER = -1e9


def merge_into_background(logits: tf.Tensor, labels: tf.Tensor, annotated: tf.Tensor) -> tf.Tensor:
  """Logits whose softmax has the probability of the unannotated classes in the background's place.

  Args:
    logits: float32 [..., C].
    labels: float32 [..., C], hard or soft; classes that have a share of the label stay as they are.
    annotated: float32 [..., C], 1 for the annotated classes.

  Returns:
    float32 [..., C]; where all classes are annotated, the logits as they are.
  """
  is_merged = (annotated < 0.5) & (labels <= 0.0)  # [..., C]
  is_background = tf.equal(tf.range(logits.shape[-1]), 0)  # [C]
  group = tf.where(is_merged | is_background, logits, _NEVER)  # [..., C]
  together = tf.reduce_logsumexp(group, axis=-1, keepdims=True)  # [..., 1]
  return tf.where(is_background, together, tf.where(is_merged, _NEVER, logits))


def among_annotated(logits: tf.Tensor, labels: tf.Tensor, annotated: tf.Tensor) -> tf.Tensor:
  """Logits whose softmax is the distribution among the annotated classes, without background.

  For labels whose annotated classes are known relative to each other alone. Where all classes are
  annotated, the background takes part as ever.

  Args:
    logits: float32 [..., C].
    labels: float32 [..., C]; classes that have a share of the label take part.
    annotated: float32 [..., C], 1 for the annotated classes.

  Returns:
    float32 [..., C].
  """
  is_partly = tf.reduce_any(annotated < 0.5, axis=-1, keepdims=True)  # [..., 1]
  is_background = tf.equal(tf.range(logits.shape[-1]), 0)  # [C]
  takes_part = ((annotated > 0.5) | (labels > 0.0)) & ~(is_background & is_partly)  # [..., C]
  return tf.where(takes_part, logits, _NEVER)
