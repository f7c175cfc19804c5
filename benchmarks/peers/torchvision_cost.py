"""Times torchvision's `fasterrcnn_resnet50_fpn` for `benchmarks.run`.

    --peer 'torchvision=ENVIRONMENT/bin/python -m benchmarks.peers.torchvision_cost'

in an environment with torch, torchvision and numpy. Random weights, conv1 and layer1 frozen and all
statistics of normalisations, as for fine-tuning; 300 proposals at inference, 256 sampled boxes;
momentum. The last scale of the residual branches is 0.2, as for ours.
"""

import numpy as np
import torch
import torchvision

from benchmarks.peers import cost


def build(height: int, width: int) -> torch.nn.Module:
  """Returns the network; images of the given size are not resized."""
  model = torchvision.models.detection.fasterrcnn_resnet50_fpn(
    weights=None,
    weights_backbone=None,
    num_classes=cost.NUM_CLASSES + 1,
    min_size=min(height, width),
    max_size=max(height, width),
    rpn_post_nms_top_n_test=cost.NUM_PROPOSALS,
    box_batch_size_per_image=cost.NUM_SAMPLED,
    box_score_thresh=cost.SCORE_THRESHOLD,
  )
  body = model.backbone.body
  # What the function does itself where it is given weights.
  freeze_statistics(body)
  for name, weight in body.named_parameters():
    weight.requires_grad_(not name.startswith(("conv1", "bn1", "layer1")))
  return model


def freeze_statistics(module: torch.nn.Module) -> None:
  """Puts normalisations with frozen statistics in the place of all others."""
  for name, child in module.named_children():
    if isinstance(child, torch.nn.BatchNorm2d):
      frozen = torchvision.ops.FrozenBatchNorm2d(child.num_features)
      if name == "bn3":
        frozen.weight.fill_(cost.BRANCH_SCALE)
      setattr(module, name, frozen)
    else:
      freeze_statistics(child)


def main() -> None:
  options = cost.parser(__doc__).parse_args()
  torch.set_num_threads(options.threads)
  torch.manual_seed(0)
  rng = np.random.default_rng(0)
  model = build(options.height, options.width)
  image = torch.from_numpy(rng.uniform(size=(3, options.height, options.width)).astype(np.float32))
  boxes = cost.random_boxes(rng, options.height, options.width)[:, [1, 0, 3, 2]]
  labels = rng.integers(1, cost.NUM_CLASSES + 1, cost.NUM_BOXES)
  target = {"boxes": torch.from_numpy(boxes.copy()), "labels": torch.from_numpy(labels)}
  trained = [weight for weight in model.parameters() if weight.requires_grad]
  optimizer = torch.optim.SGD(trained, cost.LEARNING_RATE, cost.MOMENTUM)
  proposals = []
  model.roi_heads.register_forward_pre_hook(
    lambda module, inputs: proposals.append(len(inputs[1][0]))
  )

  def infer() -> int:
    model.eval()
    with torch.inference_mode():
      model([image])
    return proposals[-1]

  def train() -> float:
    model.train()
    optimizer.zero_grad()
    loss = sum(model([image], [target]).values())
    loss.backward()
    optimizer.step()
    return loss.item()

  cost.report(cost.measure(infer, train, options.repeats))


if __name__ == "__main__":
  main()
