"""How many labels each strategy of active learning needs: learning curves on `ddti` against chance, five seeds.

Comes in: `LLNM_DATA/ddti`, whose masks stand in for annotators. Goes out: `curves.jsonl` (a line a training; a run that
was stopped takes up the curves that are not there in full), `curves.csv`, `curves.png` and `table.md` in `--out`.

What is measured. A network that has not seen the images: the encoder of the nodule network with its weights from
photographs (ImageNet), frozen, and on three of its levels a small decoder with output at an eighth of the canvas of
160 x 224, trained from nothing each time (120 steps of 8 images, half of them mirrored, Dice and cross-entropy; two
decoders whose probabilities are averaged). Each seed holds back another quarter of the patients to measure Dice on the
whole canvas, begins with ten images by chance, and lets the strategy choose the rest from the other patients' images:
`lib.activelearning`'s own code, with the uncertainty of the newest decoders and the features of the frozen encoder.
What it does not measure: a network that is trained as a whole, or images in which many are alike, as in sweeps.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from monai.losses import DiceCELoss
from monai.networks.blocks import Convolution
from scipy import stats
from torch import nn
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "server"))

from lib.activelearning import Pool, strategies
from lib.activelearning.uncertainty import dice_shortfall

from llnm.segmentation.encoder import ENCODER_CHANNELS, EfficientNetLiteEncoder, published_weights
from llnm.segmentation.networks import CANVAS
from llnm.segmentation.out_of_distribution import encoder_features
from llnm.training.data import find_items, split_by_group, validation_transforms

STRATEGIES = ("random", "uncertainty", "diversity", "hybrid")
LABELS = (10, 20, 40, 60, 100)
SHARE = 0.6
"""Of random's labels, with which ours is to reach random's final Dice."""
LEVELS = slice(2, 5)
STRIDE = 8
STEPS, BATCH, RATE, DROPOUT, DECODERS = 120, 8, 4e-3, 0.2, 2
TEST_FOLDS = 4

Floats = npt.NDArray[np.floating]


@dataclass
class Data:
    """What is kept in memory: encoder levels of each image and its mirror, masks (N, 1, H, W), features (N, D)."""

    names: list[str]
    groups: list[str]
    levels: tuple[list[torch.Tensor], list[torch.Tensor]]
    masks: torch.Tensor
    features: npt.NDArray[np.float32]


class Decoder(nn.Module):
    """Three encoder levels to logits at the finest of them."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(channels, width, 1) for channels in ENCODER_CHANNELS[LEVELS])
        self.merge = nn.ModuleList(Convolution(2, width, width, act="relu", norm="batch", bias=False) for _ in range(2))
        self.head = nn.Conv2d(width, 1, 1)

    def forward(self, levels: Sequence[torch.Tensor]) -> torch.Tensor:
        """Logits (B, 1, H / 8, W / 8)."""
        found = self.lateral[2](levels[2])
        for index in (1, 0):
            larger = F.interpolate(found, scale_factor=2, mode="bilinear")
            found = self.merge[index](larger + self.lateral[index](levels[index]))
        return self.head(found)


def read_data(folder: Path) -> Data:
    """Every annotated image of `folder` through the frozen encoder."""
    items = find_items(folder, "nodule")
    encoder = EfficientNetLiteEncoder(in_channels=1)
    encoder.load_published(torch.load(published_weights(), weights_only=True))
    encoder.eval()
    load = validation_transforms("nodule")
    masks, features, levels = [], [], ([], [])
    with torch.inference_mode():
        for item in items:
            sample = load({"item": item})
            image = sample["image"][None, :1]
            masks.append(sample["label"])
            features.append(encoder_features(encoder, image))
            for kept, view in zip(levels, (image, image.flip(-1)), strict=True):
                kept.append(encoder(view)[LEVELS])
    stacked = [[torch.cat(level) for level in zip(*kept, strict=True)] for kept in levels]
    scale = [(level.mean((0, 2, 3), keepdim=True), level.std((0, 2, 3), keepdim=True) + 1e-3) for level in stacked[0]]
    as_is, mirrored = ([(x - m) / s for x, (m, s) in zip(kept, scale, strict=True)] for kept in stacked)
    names, groups = [item.image.stem for item in items], [item.group for item in items]
    return Data(names, groups, (as_is, mirrored), torch.stack(masks), np.concatenate(features))


def train(data: Data, rows: Sequence[int], seed: int) -> Decoder:
    """A decoder trained on the images in `rows`."""
    torch.manual_seed(seed)
    decoder, loss = Decoder(), DiceCELoss(sigmoid=True, squared_pred=True)
    optimizer = torch.optim.AdamW(decoder.parameters(), lr=RATE, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=STEPS)
    index = torch.tensor(rows)
    rounds = [index[torch.randperm(len(index))] for _ in range(STEPS * BATCH // len(index) + 1)]
    for batch in torch.cat(rounds)[: STEPS * BATCH].split(BATCH):
        mirrored = int(torch.rand(()) < 0.5)
        levels = [F.dropout2d(level[batch], DROPOUT) for level in data.levels[mirrored]]
        target = F.avg_pool2d(data.masks[batch], STRIDE)
        target = target.flip(-1) if mirrored else target
        optimizer.zero_grad()
        loss(decoder(levels), target).backward()
        optimizer.step()
        schedule.step()
    return decoder.eval()


@torch.inference_mode()
def predict(data: Data, decoders: Sequence[Decoder], rows: Sequence[int]) -> torch.Tensor:
    """Mean probability (N, 1, H / 8, W / 8) over the decoders and the image's mirror."""
    maps = []
    for batch in torch.tensor(rows).split(64):
        for decoder in decoders:
            for mirrored, levels in enumerate(data.levels):
                found = torch.sigmoid(decoder([level[batch] for level in levels]))
                maps.append(found.flip(-1) if mirrored else found)
    passes = 2 * len(decoders)
    return torch.cat([torch.stack(maps[n : n + passes]).mean(0) for n in range(0, len(maps), passes)])


def mean_dice(data: Data, decoders: Sequence[Decoder], rows: Sequence[int]) -> float:
    """Mean over patients of the Dice on the canvas of 160 x 224."""
    probability = F.interpolate(predict(data, decoders, rows), size=CANVAS, mode="bilinear")
    found, drawn = probability > 0.5, data.masks[torch.tensor(rows)] > 0.5
    both = 2 * (found & drawn).sum((1, 2, 3)) / (found.sum((1, 2, 3)) + drawn.sum((1, 2, 3)))
    by_patient = pd.Series(both.numpy()).groupby([data.groups[row] for row in rows]).mean()
    return float(by_patient.mean())


def split(data: Data, seed: int) -> tuple[list[int], list[int]]:
    """(pool, test) rows: a quarter of the patients measures and is never chosen from."""
    from llnm.training.data import Item

    items = [Item(Path(str(row)), Path(), "ddti", group) for row, group in enumerate(data.groups)]
    pool, test = split_by_group(items, 0, TEST_FOLDS, seed)
    return [int(item.image.name) for item in pool], [int(item.image.name) for item in test]


def first_images(pool: Sequence[int], seed: int) -> list[int]:
    """The rows that every strategy begins with."""
    return [int(row) for row in np.random.default_rng(seed).permutation(pool)[: LABELS[0]]]


def train_all(data: Data, rows: Sequence[int], seed: int) -> list[Decoder]:
    """The decoders of one point of a curve."""
    return [train(data, rows, 1000 * seed + 10 * len(rows) + number) for number in range(DECODERS)]


def run(data: Data, name: str, seed: int, decoders: list[Decoder]) -> list[dict[str, object]]:
    """One learning curve, from the `decoders` that were trained on the first images."""
    pool, test = split(data, seed)
    row_of = {data.names[row]: row for row in pool}
    chosen, points = first_images(pool, seed), []
    for labels, following in zip(LABELS, (*LABELS[1:], None), strict=True):
        decoders = decoders if labels == LABELS[0] else train_all(data, chosen, seed)
        points.append({"strategy": name, "seed": seed, "labels": labels, "dice": mean_dice(data, decoders, test)})
        if following is None:
            break
        maps = predict(data, decoders, pool)[:, 0].numpy()
        unsure = np.array([dice_shortfall(found) for found in maps], dtype=np.float32)
        about = Pool(tuple(row_of), unsure, data.features[pool])
        covered = [data.names[row] for row in chosen]
        candidates = [image for image in row_of if image not in covered]
        # Another seed is another order of chance.
        choice = strategies(lambda about=about: about, seed)[name](candidates, covered, following - labels)
        chosen += [row_of[image] for image in choice]
    return points


def read_curves(path: Path) -> pd.DataFrame:
    """The lines that are there already."""
    columns = ["strategy", "seed", "labels", "dice"]
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return pd.DataFrame(rows, columns=columns)


def interval(values: Floats) -> str:
    """Mean and 95 % interval of Student's t over seeds."""
    low, high = stats.t.interval(0.95, len(values) - 1, values.mean(), stats.sem(values))
    return f"{values.mean():.3f} ({low:.3f} to {high:.3f})"


def table(curves: pd.DataFrame) -> str:
    """Mean curves, and the criterion: ours with a share of the labels against random with all."""
    wide = curves.pivot_table(index=["strategy", "seed"], columns="labels", values="dice")
    last = max(LABELS)
    chance = wide.loc["random"]
    lines = ["| strategy | " + " | ".join(map(str, LABELS)) + " | labels to reach random's last |"]
    lines.append("|---" * (len(LABELS) + 2) + "|")
    for name in STRATEGIES:
        mean = wide.loc[name].mean()
        reached = next((f"{n} ({n / last:.0%})" for n in LABELS if mean[n] >= chance[last].mean()), "not reached")
        lines.append(f"| {name} | " + " | ".join(f"{mean[n]:.3f}" for n in LABELS) + f" | {reached} |")
    few = round(SHARE * last)
    lines.append(
        f"\n| strategy | with {few} labels, less random with {last} | with {last} labels, less random | area |"
    )
    lines.append("|---|---|---|---|")
    for name in STRATEGIES[1:]:
        mine = wide.loc[name]
        area = ((mine - chance) @ np.gradient(np.array(LABELS, float))) / (last - LABELS[0])
        pairs = [(mine[few] - chance[last]), (mine[last] - chance[last]), area]
        lines.append(f"| {name} | " + " | ".join(interval(pair.to_numpy()) for pair in pairs) + " |")
    return "\n".join(lines) + "\n"


def plot(curves: pd.DataFrame, path: Path) -> None:
    """Mean curves with the range over seeds."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
    for name, colour, style in zip(
        STRATEGIES, ("#555555", "#d55e00", "#0072b2", "#009e73"), ("--", "-", "-", "-"), strict=True
    ):
        by_labels = curves[curves["strategy"] == name].groupby("labels")["dice"]
        axes.plot(by_labels.mean(), style, color=colour, marker="o", label=name)
        axes.fill_between(by_labels.mean().index, by_labels.min(), by_labels.max(), color=colour, alpha=0.08, lw=0)
    axes.axhline(
        curves.query("strategy == 'random' and labels == @LABELS[-1]")["dice"].mean(), color="#555555", lw=0.8, ls=":"
    )
    axes.set(xlabel="labelled images", ylabel="Dice on held-back patients (mean of five seeds)")
    axes.legend(title="next image by", frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/active_learning"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only-table", action="store_true", help="from the curves that are there")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    lines = options.out / "curves.jsonl"
    if not options.only_table:
        torch.set_num_threads(1)
        data = read_data(Path(os.environ["LLNM_DATA"]) / "ddti")
        for seed in range(options.seeds):
            known = read_curves(lines)
            missing = [name for name in STRATEGIES if not ((known["strategy"] == name) & (known["seed"] == seed)).any()]
            first = train_all(data, first_images(split(data, seed)[0], seed), seed) if missing else []
            for name in missing:
                points = run(data, name, seed, first)
                with lines.open("a") as file:
                    file.writelines(json.dumps(point) + "\n" for point in points)
                print(f"seed {seed}, {name}: " + " ".join(f"{point['dice']:.3f}" for point in points), flush=True)
    curves = read_curves(lines)
    curves.sort_values(["strategy", "seed", "labels"]).to_csv(options.out / "curves.csv", index=False)
    (options.out / "table.md").write_text(table(curves))
    plot(curves, options.out / "curves.png")
    print(table(curves))


if __name__ == "__main__":
    main()
