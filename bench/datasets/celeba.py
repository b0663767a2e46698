"""CelebA: 202,599 photographs of faces with 40 yes/no attributes each, decoded when they are read."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.data import SPLITS, Meta, Samples, SplitName, Target
from bench.datasets.base import SplitDataSet, absent, encoded, fingerprint_of
from bench.errors import BenchError
from bench.images import EncodedImages, Input, threaded

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

Array = npt.NDArray[Any]


def build(*, root: Path, size: int = 64) -> SplitDataSet:
    """The aligned and cropped images under `root`/celeba, in torchvision's layout, never downloaded:
    img_align_celeba/000001.jpg and so on, list_attr_celeba.txt, list_eval_partition.txt. One target,
    `attributes`: 40 yes/no labels; the split is the authors', by person.

    The files are 178 pixels wide and 218 high. `size` x `size` is delivered where an encoder does not
    say otherwise, and as for any square input it is the centre, all of the width and to a pixel as much
    of the height, that is resized: the usual crop of 178 x 178.

    Every file is read once here for its digest, and decoded when it is asked for. Raises Declined where
    one of the three is absent; BenchError for lists that are not the authors', and for images missing.

    Source: Liu, Luo, Wang and Tang 2015, Deep learning face attributes in the wild, arXiv:1411.7766.
    """
    if size < 2:
        raise BenchError(f"size={size} is too small; 2 or more is wanted")
    folder = root / "celeba"
    if not all((folder / name).exists() for name in (FOLDER, ATTRIBUTES, PARTITION)):
        raise absent("celeba", f"celeba/{FOLDER}/, celeba/{ATTRIBUTES} and celeba/{PARTITION}")
    files, attributes = _attributes(folder / ATTRIBUTES)
    parts = _partition(folder / PARTITION, files)
    digests = _digests(folder / FOLDER, files)
    native = Input(size=(size, size), channels=3)
    meta = Meta({"attributes": Target("binary", len(NAMES), NAMES)})
    splits: dict[SplitName, Samples] = {}
    contents: dict[SplitName, list[bytes]] = {}
    for number, split in enumerate(SPLITS):
        rows = np.flatnonzero(parts == number)
        names = [files[row] for row in rows]
        images = EncodedImages([folder / FOLDER / n for n in names], native=native, names=names)
        splits[split] = Samples(images, {"attributes": attributes[rows]}, np.arange(len(rows)))
        contents[split] = [digests[row] for row in rows]
    seen = {*contents["train"], *contents["val"]}
    return SplitDataSet(
        name="celeba",
        meta=meta,
        licence="non-commercial research only",
        flips=True,
        splits=splits,
        fingerprint=fingerprint_of(
            meta,
            {split: encoded(contents[split]) for split in SPLITS},
            {split: splits[split].y for split in SPLITS},
        ),
        test_in_train=sum(each in seen for each in contents["test"]),
    )


def _attributes(path: Path) -> tuple[list[str], Array]:
    """Files in the list's order and their attributes int64 (n, 40), 1 for yes, 0 for no: below a line
    with their number and one with the attributes' names, a line each of a file and 1 or -1."""
    lines = _lines(path)
    if lines[1:2] != [[*NAMES]]:
        raise _other(f"{path.name} does not name the 40 attributes in its second line")
    (count, _), lines = lines[:2], lines[2:]
    rows = [line for line in lines if len(line) == 1 + len(NAMES) and {*line[1:]} <= {"1", "-1"}]
    if len(rows) < len(lines) or count != [str(len(rows))] or len(rows) != sum(ROWS.values()):
        raise _other(
            f"{path.name} has {len(rows)} lines of a file and 40 times 1 or -1, and {len(lines)} in all; "
            f"{sum(ROWS.values())} are wanted, and that number in the first line"
        )
    yes = np.array([row[1:] for row in rows]) == "1"
    return [row[0] for row in rows], yes.astype(np.int64)


def _partition(path: Path, files: list[str]) -> Array:
    """The split (n,) of each file, by its place in SPLITS."""
    lines = _lines(path)
    if [line[0] for line in lines] != files or any(len(line) != 2 for line in lines):
        raise _other(f"{path.name} does not list the files of {ATTRIBUTES} with a split each")
    parts = np.array([line[1] for line in lines])
    found = {split: int((parts == str(number)).sum()) for number, split in enumerate(SPLITS)}
    if found != ROWS:
        raise _other(f"{path.name} has splits of {found}; {ROWS} are wanted")
    return parts.astype(np.int64)


def _lines(path: Path) -> list[list[str]]:
    """The words of each line that is not empty."""
    try:
        text = path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise _other(f"{path.name} cannot be read as text ({error})") from error
    return [words for line in text.splitlines() if (words := line.split())]


def _digests(folder: Path, files: list[str]) -> list[bytes]:
    """The sha256 of each file. Raises BenchError naming the first three that are not there."""
    from tqdm import tqdm

    def read(row: int) -> bytes | None:
        try:
            return hashlib.sha256((folder / files[row]).read_bytes()).digest()
        except OSError:
            return None

    work = threaded(read, len(files))
    found = list(tqdm(work, total=len(files), desc="reading celeba", disable=None, leave=False))
    gone = [name for name, each in zip(files, found, strict=True) if each is None]
    if gone:
        raise BenchError(
            f"{len(gone)} of {len(files)} images of celeba cannot be read ({', '.join(gone[:3])}); put "
            f"them into celeba/{FOLDER}"
        )
    return [each for each in found if each is not None]


def _other(what: str) -> BenchError:
    return BenchError(f"the files of celeba are not the known ones: {what}; fetch it again")
