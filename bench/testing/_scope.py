"""Where in a user's file each check looks, and which checks must hold for it to mean anything.

One fault breaks many rules: features that are NaN differ from themselves in every comparison. A check
is therefore run only where those that it needs have held, so that one fault is reported once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Scope(NamedTuple):
    """Of one check, names separated by spaces."""

    # In the file, the likeliest first: "fit" is the line that defines it, "taps()" the line where it
    # returns, "=taps" the first in it that changes an object in place, "?taps" the first that uses a
    # global random state or differs from run to run, "!build" the first that does the latter.
    places: str
    needs: str = ""  # checks that come before it and must have held


SCOPES: Mapping[str, Scope] = {
    "encoder_alone": Scope("build() build"),
    "encoder_contract": Scope("dims build"),
    "encoder_shape": Scope("taps() forward() build", "encoder_contract"),
    "encoder_finite": Scope("taps() forward() build", "encoder_shape"),
    "encoder_varies": Scope("taps() forward() build", "encoder_finite"),
    "encoder_untouched": Scope("=taps taps build", "encoder_finite"),
    "encoder_deterministic": Scope(
        "?taps taps() forward() build", "encoder_alone encoder_untouched"
    ),
    "encoder_rows_independent": Scope("taps() forward() build", "encoder_deterministic"),
    "encoder_forward": Scope("forward() taps() build", "encoder_deterministic"),
    "encoder_report": Scope("fit() build", "encoder_finite"),
    "encoder_repeatable": Scope("?fit !build !__init__ fit build", "encoder_deterministic"),
    "encoder_seeded": Scope("seeded fit build", "encoder_repeatable encoder_varies"),
    "encoder_devices": Scope("build"),
    "encoder_state": Scope("fit build", "encoder_devices encoder_repeatable"),
    "encoder_labels": Scope("uses_labels fit build", "encoder_repeatable"),
    "encoder_gradients": Scope("taps() forward() build", "encoder_untouched encoder_varies"),
    "encoder_stages": Scope("stages() build", "encoder_forward"),
    "encoder_copies": Scope("__deepcopy__ __init__ build", "encoder_deterministic"),
    "encoder_methods": Scope("decode() reconstruct() sample() build", "encoder_finite"),
    "encoder_sizes": Scope("taps() forward() build", "encoder_shape"),
    "protocol_alone": Scope("build() build"),
    "protocol_contract": Scope("output build"),
    "protocol_output": Scope("predict() build", "protocol_contract"),
    "protocol_untouched": Scope("=fit =select =predict fit build", "protocol_output"),
    "protocol_learns": Scope("fit build", "protocol_output"),
    "protocol_chance": Scope("fit build", "protocol_learns"),
    "protocol_deterministic": Scope("?predict predict() build", "protocol_alone protocol_untouched"),
    "protocol_instances": Scope("fit build", "protocol_deterministic"),
    "protocol_repeatable": Scope("?fit !build !__init__ fit build", "protocol_instances"),
    "protocol_seeded": Scope("seeded fit build", "protocol_repeatable"),
    "protocol_test_order": Scope("predict() build", "protocol_chance protocol_deterministic"),
    "protocol_train_order": Scope("fit build", "protocol_learns protocol_repeatable"),
    "protocol_relabelled": Scope("fit build", "protocol_chance protocol_repeatable"),
    "protocol_missing": Scope("fit build", "protocol_repeatable"),
    "protocol_targets": Scope("fit build", "protocol_learns protocol_test_order protocol_missing"),
    "protocol_test_sizes": Scope("predict() build", "protocol_instances"),
    "protocol_empty_class": Scope("fit build", "protocol_learns"),
    "protocol_few_rows": Scope("fit build", "protocol_output"),
    "protocol_degenerate": Scope("predict() build", "protocol_output"),
    "protocol_no_val": Scope("fit build", "protocol_learns"),
    "protocol_report": Scope("report() build", "protocol_output"),
    "protocol_head": Scope("head() build", "protocol_learns"),
    "protocol_sweep": Scope("sweep() build", "protocol_repeatable"),
    "dataset_alone": Scope("build() build"),
    "dataset_fingerprint": Scope("?build fingerprint build()", "dataset_alone"),
    "dataset_meta": Scope("build()"),
    "dataset_splits": Scope("split() build()", "dataset_meta"),
    "dataset_labels": Scope("labels build()", "dataset_splits"),
    "dataset_images": Scope("read() images build()", "dataset_splits"),
    "dataset_disjoint": Scope("images build()", "dataset_images"),
    "semantics_shape": Scope("semantics build()", "dataset_meta"),
    "semantics_distinct": Scope("semantics build()", "semantics_shape"),
    "semantics_unseen": Scope("unseen build()", "semantics_shape"),
    "task_title": Scope("title"),
    "task_fits": Scope("protocol dataset"),
    "task_classes": Scope("removed_classes splits dataset"),
    "task_primary": Scope("metric primary dataset", "task_fits"),
    "task_chance": Scope("chance", "task_primary"),
    "task_replicates": Scope("replicates family"),
    "task_lock": Scope("version title"),
}  # fmt: skip
