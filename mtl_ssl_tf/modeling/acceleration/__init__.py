"""Faster ways to the same results; the method itself is in `backbones/` and `heads/`.

`folding`         a frozen normalisation goes into the convolution before it
`resnet_stage2`   ResNet's second stage: the first convolutions of bottlenecks run on the map before
                  it is cropped, and 3 x 3 convolutions of crops by way of their Fourier transform
`fourier_conv`    such convolutions

`factory.py` chooses them. `tests/modeling/acceleration` holds each equal to the plain form.
"""
