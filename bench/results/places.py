"""Where on this machine the folders and files lie that a results folder calls by name.

Records, tasks and boards have names alone. The index `.places.json` in the results folder has their
places; it is of this machine, and is not committed.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal
from urllib.parse import unquote

from bench.errors import BenchError, printable
from bench.files.reading import read_json
from bench.files.writing import write_atomically
from bench.naming import registry
from bench.naming.specs import Resolved
from bench.results.layout import NULLABLE, from_json
from bench.results.own_tasks import OwnTasks
from bench.results.store import Store
from bench.tasks.files import names
from bench.tasks.own_images import FAMILIES_OF_FOLDERS, folder_dataset, plain_name

FILE = ".places.json"
SCHEMA = "reptransfer.places/1"
MOST = 2**24  # bytes of an index that are read
Section = Literal["images", "files", "tasks", "encoders"]
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Location:
    """An absolute path, or of a named encoder its spec with such paths; the digest of what lies there; how
    many bad images of a folder may be left out (None: none)."""

    path: str
    digest: str
    skip_bad: int | None = field(default=None, metadata=NULLABLE)


@dataclass(frozen=True, slots=True, kw_only=True)
class NameClaim:
    """A name in a section of the index, and what it stands for."""

    section: Section
    name: str
    place: Location


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """The index: folders of images by the name of their data set, files that encoders name by their last
    part, task files by the task's name, encoders by the name that --name gave them."""

    images: Mapping[str, Location] = field(default_factory=dict)
    files: Mapping[str, Location] = field(default_factory=dict)
    tasks: Mapping[str, Location] = field(default_factory=dict)
    encoders: Mapping[str, Location] = field(default_factory=dict)

    @classmethod
    def read(cls, store: Store) -> Places:
        """The index of a results folder; empty where it has none, or a broken one."""
        path = store.root / FILE
        if not os.path.lexists(path):
            return cls()
        try:
            value = read_json(path, most=MOST)
            if not isinstance(value, dict) or value.pop("schema", None) != SCHEMA:
                raise BenchError(f"{path} is not of the schema {SCHEMA}")
            return from_json(cls, value, str(path))
        except BenchError as error:
            log.warning("places on this machine are not read: %s", printable(str(error)))
            return cls()

    def write(self, store: Store) -> None:
        text = json.dumps({"schema": SCHEMA, **asdict(self)}, indent=1, sort_keys=True) + "\n"
        path = store.root / FILE
        if not path.is_file() or path.read_bytes() != text.encode():
            write_atomically(path, text.encode())

    def claimed(self, claim: NameClaim) -> Places:
        """The index with one more claim: a new name, the same place with any content, or the same content
        in another place. Raises BenchError where the name stands for something else."""
        section: Mapping[str, Location] = getattr(self, claim.section)
        old, new = section.get(claim.name), claim.place
        if old is not None and old.path != new.path and old.digest != new.digest:
            raise BenchError(_CLASHES[claim.section].format(claim.name, old.path, new.path))
        return replace(self, **{claim.section: {**section, claim.name: new}})

    def of_records(self, store: Store) -> Places:
        """The index without files and names of encoders that no record of the folder is of."""
        local = {path.parent.name for path in store.paths() if path.parent.parent.name == "local"}

        def is_used(file: str) -> bool:
            stem = Path(file).stem if file.endswith(".py") else None
            return any(
                re.split("[,@~]", name)[0] == stem or file in unquote(unquote(name))
                for name in local
            )

        return replace(
            self,
            files={file: place for file, place in self.files.items() if is_used(file)},
            encoders={name: place for name, place in self.encoders.items() if name in local},
        )

    def name_of_images(self, place: Path, fingerprint: str, own: OwnTasks) -> str:
        """The name of the data set in a folder: of the same place, else of the same content, else a new
        one, which no data set and no task has."""
        for name, known in self.images.items():
            if known.path == str(place):
                return name
        stored = {_folder_name(o.task.dataset): o.data.digest for o in own.by_name.values()}
        contents = stored | {name: known.digest for name, known in self.images.items()}
        base = plain_name(place)
        alike = [n for n, digest in contents.items() if n and digest == fingerprint]
        if alike:
            return base if base in alike else min(alike)
        taken = {name.lower() for name in (*contents, *registry.names("datasets")) if name}
        tasks = {name.lower() for name in (*own.by_name, *own_stems(own), *names())}
        number, name = 1, base
        while name.lower() in taken or any(
            f"{name}-{family}".lower() in tasks for family in FAMILIES_OF_FOLDERS
        ):
            number += 1
            name = f"{base}-{number}"
        return name


_CLASHES: Mapping[Section, str] = {
    "images": "another run has meanwhile taken the name {0!r} for {1}; run the command again",
    "files": "{0!r} in this results folder is {1}, and {2} has other content: name the encoder of the "
    "latter with --name NAME (name= in Python), or name another results folder",
    "tasks": "task {0!r} in this results folder is of {1}, and {2} is another: rename the latter, or name "
    "another results folder",
    "encoders": "--name {0} in this results folder is {1}, and {2} is another encoder: give another name",
}


def own_stems(own: OwnTasks) -> list[str]:
    """Names of task files that cannot be read: they are taken all the same."""
    return [name.removesuffix(".json") for name in own.broken]


def _folder_name(dataset: str) -> str | None:
    """The name that `image_folder,path=NAME` has; None for another data set."""
    match = re.match(r"image_folder,path=([A-Za-z0-9_-]+)(?=,|$)", dataset)
    return match[1] if match and dataset.startswith(folder_dataset(match[1])) else None


def encoder_files(spec: Resolved) -> list[NameClaim]:
    """The files of the user's own that an encoder's spec names, also those of encoders within it. Raises
    BenchError for one that is missing."""
    claims: list[NameClaim] = []
    if spec.entry.content is not None:
        path = spec.entry.path
        claims.append(_file(path, spec.entry.content))
    for key, digest in spec.path_digests.items():
        claims.append(_file(Path(os.path.abspath(spec.paths[key])), digest))
    return claims + [c for inner in spec.depends.values() for c in encoder_files(inner)]


def _file(path: Path, digest: str) -> NameClaim:
    return NameClaim(section="files", name=path.name, place=Location(path=str(path), digest=digest))
