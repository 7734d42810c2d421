"""Networks and images for the inference tests: random, but neither degenerate nor slow."""

import cv2
import numpy as np
import torch
from torch import nn

from erf_seg_core.checkpoint import CheckpointInfo
from erf_seg_core.class_sets import load_class_set
from erf_seg_core.models import build_model

SIZE = (64, 128)


def random_network(name, num_outputs=20, seed=0, module_order="released"):
    """Seeded weights, and batch norms whose statistics fit, so that all classes may win."""
    torch.manual_seed(seed)
    net = build_model(name, num_outputs, module_order, dropout=(0.0, 0.0))
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # plain average over the batches seen
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.3, 0.3)
    batch = torch.from_numpy(images(4, seed=seed + 1))[..., [2, 1, 0]].permute(0, 3, 1, 2) / 255
    with torch.no_grad():
        net.train()(batch)
    return net.eval()


def images(count, size=SIZE, seed=0):
    """Smooth blobs of colour, N×h×w×3 uint8: as in photographs, neighbours are alike."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (count, 8, 16, 3), np.uint8)
    return np.stack(
        [cv2.resize(c, (size[1], size[0]), interpolation=cv2.INTER_CUBIC) for c in coarse]
    )


def logits_of(net, images_bgr):
    """The network's own logits N×h×w×C for BGR bytes: what every engine must agree with."""
    rgb = torch.from_numpy(images_bgr[..., ::-1].copy()).permute(0, 3, 1, 2).float() / 255
    with torch.inference_mode():
        return net(rgb).permute(0, 2, 3, 1).numpy()


def info_for(net, class_set="cityscapes19", input_size=SIZE):
    return CheckpointInfo(net.spec.name, net.num_classes, load_class_set(class_set), input_size)
