"""CelebA: 202,599 photographs of faces with 40 yes/no attributes (no download: bring the files)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bench.data.samples import SPLITS, Array, Meta, SplitName, Target
from bench.datasets.base import SplitDataSet, absent
from bench.datasets.parts.image_files import check_size, dataset_of_files
from bench.datasets.parts.lists import invalid_files, read_words

REVISION = 1
FOLDER, ATTRIBUTES, PARTITION = (
    "img_align_celeba",
    "list_attr_celeba.txt",
    "list_eval_partition.txt",
)
ROWS: dict[SplitName, int] = {"train": 162_770, "val": 19_867, "test": 19_962}  # the authors' split
NAMES = tuple(
    """5_o_Clock_Shadow Arched_Eyebrows Attractive Bags_Under_Eyes Bald Bangs Big_Lips Big_Nose
    Black_Hair Blond_Hair Blurry Brown_Hair Bushy_Eyebrows Chubby Double_Chin Eyeglasses Goatee
    Gray_Hair Heavy_Makeup High_Cheekbones Male Mouth_Slightly_Open Mustache Narrow_Eyes No_Beard
    Oval_Face Pale_Skin Pointy_Nose Receding_Hairline Rosy_Cheeks Sideburns Smiling Straight_Hair
    Wavy_Hair Wearing_Earrings Wearing_Hat Wearing_Lipstick Wearing_Necklace Wearing_Necktie
    Young""".split()  # noqa: SIM905
)


def build(*, root: Path, size: int = 64) -> SplitDataSet:
    """The aligned and cropped images under `root`/celeba, in torchvision's layout, never downloaded:
    img_align_celeba/000001.jpg and so on, list_attr_celeba.txt, list_eval_partition.txt. One target,
    `attributes`: 40 yes/no labels; the split is the authors', by person.

    The files are 178 x 218 pixels. Where an encoder does not declare another size they are delivered as
    `size` x `size`, resized, as for any square input, from the centre: the usual crop of 178 x 178, up to
    a pixel.

    Every file is read here once for its digest, and decoded each time it is used. Raises Declined where
    one of the three is missing; BenchError for lists that are not the authors', and for missing images.

    Source: Liu, Luo, Wang and Tang 2015, Deep learning face attributes in the wild, arXiv:1411.7766.
    """
    check_size(size)
    folder = root / "celeba"
    if not all((folder / name).exists() for name in (FOLDER, ATTRIBUTES, PARTITION)):
        raise absent("celeba", f"celeba/{FOLDER}/, celeba/{ATTRIBUTES} and celeba/{PARTITION}")
    files, attributes = _attributes(folder / ATTRIBUTES)
    parts = _partition(folder / PARTITION, files)
    return dataset_of_files(
        "celeba",
        root=root,
        folder=f"celeba/{FOLDER}",
        files=files,
        labels={"attributes": attributes},
        rows={split: np.flatnonzero(parts == number) for number, split in enumerate(SPLITS)},
        meta=Meta({"attributes": Target("binary", len(NAMES), NAMES)}),
        size=size,
        licence="non-commercial research only",
    )


def _attributes(path: Path) -> tuple[list[str], Array]:
    """Files in the list's order and their attributes int64 (n, 40), 1 for yes, 0 for no. The list: a line
    with the number of files, one with the attributes' names, then for each file its name and 40 times 1
    or -1."""
    lines = read_words("celeba", path)
    if lines[1:2] != [[*NAMES]]:
        raise invalid_files(
            "celeba", f"{path.name} does not name the 40 attributes in its second line"
        )
    (count, _), lines = lines[:2], lines[2:]
    rows = [line for line in lines if len(line) == 1 + len(NAMES) and {*line[1:]} <= {"1", "-1"}]
    if len(rows) < len(lines) or count != [str(len(rows))] or len(rows) != sum(ROWS.values()):
        raise invalid_files(
            "celeba",
            f"{path.name} has {len(rows)} lines with a file and 40 times 1 or -1, of {len(lines)} in all; "
            f"it must have {sum(ROWS.values())}, and that number in the first line",
        )
    yes = np.array([row[1:] for row in rows]) == "1"
    return [row[0] for row in rows], yes.astype(np.int64)


def _partition(path: Path, files: list[str]) -> Array:
    """The split (n,) of each file, by its place in SPLITS."""
    lines = read_words("celeba", path)
    if [line[0] for line in lines] != files or any(len(line) != 2 for line in lines):
        raise invalid_files(
            "celeba", f"{path.name} does not list the files of {ATTRIBUTES} with a split each"
        )
    parts = np.array([line[1] for line in lines])
    sizes = {split: int((parts == str(number)).sum()) for number, split in enumerate(SPLITS)}
    if sizes != ROWS:
        raise invalid_files("celeba", f"{path.name} has splits of {sizes}; they must be {ROWS}")
    return parts.astype(np.int64)
