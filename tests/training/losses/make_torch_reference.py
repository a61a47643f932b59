"""What PyTorch, torchvision and the package lpips make of random weights, kept in `torch/`.

    pip install torch torchvision lpips
    PYTHONPATH=tests python tests/training/losses/make_torch_reference.py

They take gigabytes, which is why the tests read the numbers that this has written:
`reference.npz`, and one state dict in both of PyTorch's formats.
"""

from pathlib import Path

import lpips
import numpy as np
import random_vgg
import torch
import torchvision

FOLDER = Path(__file__).parent / "torch"
# Rectified first and last convolutions of each block, counted in torchvision's `features`.
FIRST, LAST = (1, 6, 11, 18, 25), (3, 8, 15, 22, 29)
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def main():
    arrays = random_vgg.state_dict(random_vgg.WIDTHS)
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    features = torchvision.models.vgg16(weights=None).features.eval()
    convolutions = {name.removeprefix("features."): x for name, x in tensors.items()}
    features.load_state_dict({k: x for k, x in convolutions.items() if not k.startswith("lin")})

    def seen(pictures, layers):
        x = torchvision.transforms.functional.normalize(pictures, MEAN, DEVIATION)
        found = []
        for index, layer in enumerate(features[:-1]):
            x = layer(x)
            if index in layers:
                found.append(x.clone())  # what follows is rectified in place
        return found

    def grams(pictures):
        flat = [x.flatten(2) for x in seen(pictures, FIRST)]
        return [x @ x.transpose(1, 2) / x.shape[2] for x in flat]

    metric = lpips.LPIPS(net="vgg", pretrained=False, pnet_rand=True).eval()
    state = metric.state_dict()
    for name in state:
        index, kind = name.split(".")[-2:]
        if name.startswith("net.slice"):
            state[name] = tensors[f"features.{index}.{kind}"]
        elif name.startswith("lins."):
            state[name] = tensors[f"lin{name.split('.')[1]}.model.1.weight"]
        elif name in tensors:
            state[name] = tensors[name]
    metric.load_state_dict(state)

    as_torch = lambda x: torch.from_numpy(x).permute(0, 3, 1, 2)
    first, second = as_torch(random_vgg.pictures(1)), as_torch(random_vgg.pictures(2))
    smaller = as_torch(random_vgg.pictures(3, (2, 24, 32, 3)))
    with torch.no_grad():
        gram_distance = lambda other: sum(
            ((a - b) ** 2).mean() for a, b in zip(grams(first), grams(other), strict=True)
        )
        reference = {
            "vgg_gram": gram_distance(second),
            "vgg_gram_of_another_size": gram_distance(smaller),
            "lpips": metric(first, second, normalize=True).mean(),
            "means": torch.stack([x.mean() for x in seen(first, FIRST + LAST)]),
            "deepest": seen(first, LAST)[-1][0, :8, 0, 0],
        }
    FOLDER.mkdir(exist_ok=True)
    np.savez(FOLDER / "reference.npz", **{name: x.numpy() for name, x in reference.items()})

    narrow = {name: torch.from_numpy(x) for name, x in random_vgg.state_dict().items()}
    # A tensor that is a turned view into a longer storage.
    name = "features.2.weight"
    longer = torch.zeros(3, *reversed(narrow[name].shape))
    longer[1] = narrow[name].permute(3, 2, 1, 0)
    narrow[name] = longer[1].permute(3, 2, 1, 0)
    torch.save(narrow, FOLDER / "state_dict.pth")
    torch.save(narrow, FOLDER / "before_1_6.pth", _use_new_zipfile_serialization=False)


if __name__ == "__main__":
    main()
