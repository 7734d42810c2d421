"""What the three kinds of stage train: a network, a loss and the images that go with them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from ..errors import ErfSegError
from ..grouping import FreeChannels, Move, shuffle_order
from ..image_files import is_image
from ..models import DepthwiseModule, SegmentationNetwork
from .augment import random_view
from .dataset import View, to_rgb
from .recipe import Augmentation
from .sources import read_image

FEATURES = 128  # channels of the encoder's output


class EncoderWithHead(nn.Module):
    """The encoder with a 1×1 classifier at 1/8 resolution (paper, Section 4.3, first phase)."""

    def __init__(self, net: SegmentationNetwork, outputs: int) -> None:
        """Share the encoder of `net`, which goes on to its decoder in a later stage."""
        super().__init__()
        self.encoder = net.encoder
        self.head = nn.Conv2d(FEATURES, outputs, 1)

    def forward(self, image: Tensor) -> Tensor:
        """N×3×H×W → logits N×C×H/8×W/8."""
        return self.head(self.encoder(image))


class EncoderClassifier(nn.Module):
    """The encoder with global pooling and one linear layer, for pretraining."""

    def __init__(self, net: SegmentationNetwork, outputs: int) -> None:
        """Share the encoder of `net`."""
        super().__init__()
        self.encoder = net.encoder
        self.head = nn.Linear(FEATURES, outputs)

    def forward(self, image: Tensor) -> Tensor:
        """N×3×H×W → logits N×C."""
        return self.head(self.encoder(image).mean((2, 3)))


class ClassifiedImages:
    """Images of a folder with one folder per class."""

    def __init__(self, folder: str | Path) -> None:
        """List the images; `ErfSegError` for fewer than two classes or an empty one."""
        folder = Path(folder)
        names = sorted(p.name for p in folder.iterdir() if p.is_dir()) if folder.is_dir() else []
        if len(names) < 2:
            raise ErfSegError(f"{folder} needs at least two folders of images, one per class")
        self.names = tuple(names)
        self.files: list[tuple[Path, int]] = []
        for i, name in enumerate(names):
            found = sorted(p for p in (folder / name).iterdir() if is_image(p))
            if not found:
                raise ErfSegError(f"{folder / name} holds no images")
            self.files += [(path, i) for path in found]


class ClassifiedViews(Dataset):
    """Random views of classified images: tensors uint8 3×h×w RGB and int64 class."""

    def __init__(self, images: ClassifiedImages, input_height: int, settings: Augmentation) -> None:
        """Read from disk at each view: such sets are larger than memory."""
        self._images, self._height, self._settings = images, input_height, settings

    def __getitem__(self, view: View) -> tuple[Tensor, Tensor]:
        """Draw the view."""
        path, label = self._images.files[view.index]
        rng = np.random.default_rng(view.key)
        try:
            picture = read_image(path)
        except ErfSegError as error:
            raise ErfSegError(
                f"{error}; put an intact copy in its place and give the same command again"
            ) from error
        image, _ = random_view(picture, None, self._height, self._settings, rng)
        return to_rgb(image), torch.tensor(label)


def hidden_channels(net: nn.Module) -> list[FreeChannels]:
    """Channels between the two 1×1 convs of each grouped module: nobody else sees their order."""
    return [
        FreeChannels(
            producer=f"{name}.pw1",
            consumer=f"{name}.pw2",
            before=(f"{name}.bn2",),
            after=(f"{name}.dw2", f"{name}.bn3"),
            shuffle=module.groups if module.shuffle else 1,
        )
        for name, module in net.named_modules()
        if isinstance(module, DepthwiseModule) and module.groups > 1
    ]


def moves_between_shuffles(origin: nn.Module, net: nn.Module) -> list[Move]:
    """Moves that let weights of `origin` compute the same in `net`, which shuffles otherwise.

    Modules are the same by name; `origin` may lack some. Raises `ErfSegError` where the shuffles
    differ around grouped convs: rows of one group cannot move to another.
    """
    moves = []
    origins = dict(origin.named_modules())
    for name, module in net.named_modules():
        if not isinstance(module, DepthwiseModule) or name not in origins:
            continue
        channels = module.pw1.out_channels
        before, after = (
            shuffle_order(channels, m.groups if m.shuffle else 1) for m in (origins[name], module)
        )
        if not torch.equal(before, after):
            if module.pw1.groups > 1:
                raise ErfSegError(
                    f"{name} shuffles its groups otherwise than the checkpoint's: start from one "
                    "with the same shuffle, or from a dense one"
                )
            order = before[torch.argsort(after)]
            layers = {"pw1": module.pw1, "bn2": module.bn2}
            moves += [
                Move(f"{name}.{layer}.{key}", 0, order)
                for layer, m in layers.items()
                for key, tensor in m.state_dict().items()
                if tensor.ndim
            ]
    return moves


def parameter_groups(net: nn.Module, lr: float, weight_decay: float) -> list[dict[str, object]]:
    """Optimizer groups: encoder or not × decayed or not (norms and biases are not)."""
    groups = []
    for in_encoder in (True, False):
        named = [
            (n, p) for n, p in net.named_parameters() if n.startswith("encoder.") == in_encoder
        ]
        for decayed in (True, False):
            parameters = [p for _, p in named if (p.ndim > 1) == decayed]
            groups.append(
                {
                    "params": parameters,
                    "lr": lr,
                    "weight_decay": weight_decay if decayed else 0.0,
                    "encoder": in_encoder,
                }
            )
    return [g for g in groups if g["params"]]


@torch.no_grad()
def recalibrate_norms(net: nn.Module, batches: Iterable[Tensor]) -> None:
    """Measure the batch-norm statistics anew as the plain mean over some batches.

    The running averages lag behind weights that have just changed, as they do when α reaches 0.
    """
    norms = [m for m in net.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    net.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # torch: cumulative average
        norm.train()
    for batch in batches:
        net(batch)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    net.eval()
