"""Evaluation results in the form of Every Eval Ever, one JSON file a model.

Format: version 0.2.2 of https://github.com/evaleval/every_eval_ever/blob/main/every_eval_ever/schemas/eval.schema.json
(commit 21b3d1a). Values of `additional_details` are texts, as it wants them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from bench.errors import printable
from bench.report.exports.rows import ScoreRow
from bench.statistics.metrics import METRICS
from bench.tasks.cell import OURS

VERSION = "0.2.2"
LIBRARY = "reptransfer"


def every_eval_ever_text(
    rows: Sequence[ScoreRow], *, pretrained: bool, library: str, now: float
) -> str:
    """The scores of one encoder. pretrained: its weights come from elsewhere; library: the versions of
    this package that measured it; now: seconds since 1970, when the file is made."""
    owner, encoder = printable(rows[0].owner), printable(rows[0].encoder)
    value = {
        "schema_version": VERSION,
        # Keyed on what was measured, not on the time: the same records give the same identity.
        "evaluation_id": f"{LIBRARY}/{owner}/{encoder}/{min(row.digest for row in rows)}",
        "retrieved_timestamp": str(int(now)),
        "source_metadata": {
            "source_name": LIBRARY,
            "source_type": "evaluation_run",
            "source_organization_name": owner,
            "evaluator_relationship": _relationship(owner, pretrained),
        },
        "eval_library": {"name": LIBRARY, "version": printable(library)},
        "model_info": {
            "name": printable(rows[0].short_name),
            "id": f"{owner}/{encoder}",
            "additional_details": {
                "group": printable(rows[0].group),
                "parameters": json.dumps(rows[0].parameters),
                "features": json.dumps(rows[0].features),
            },
        },
        "evaluation_results": [_result(row) for row in rows],
    }
    return json.dumps(value, indent=1, allow_nan=False) + "\n"


def _relationship(owner: str, pretrained: bool) -> str:
    """Of who has measured to who has made the weights; of entries nobody says it."""
    if owner != OURS:
        return "other"
    return "third_party" if pretrained else "first_party"


def _result(row: ScoreRow) -> dict[str, Any]:
    metric = METRICS[row.metric]
    config: dict[str, Any] = {
        "metric_id": row.metric if row.metric != "ausuc" else f"{LIBRARY}.ausuc",
        "metric_name": row.metric,
        "lower_is_better": not row.higher_is_better,
    }
    if all(map(math.isfinite, metric.bounds)):
        low, high = metric.bounds
        config |= {"score_type": "continuous", "min_score": low, "max_score": high}
        config["metric_unit"] = "proportion"
    return {
        "evaluation_result_id": row.digest,
        "evaluation_name": f"{LIBRARY}.{printable(row.task)}",
        "source_data": {"dataset_name": printable(row.dataset), "source_type": "other"},
        "metric_config": config,
        "score_details": {
            "score": row.value,
            "details": {
                "n_test": str(row.n_test),
                "chance": json.dumps(row.chance),
                "seeds": str(row.seeds),
                "replicates": str(row.replicates),
                "protocol": printable(row.protocol),
                "labels_seen": printable(row.labels_seen),
                "trust": printable(row.trust),
            },
            "uncertainty": {
                "confidence_interval": {
                    "lower": row.low,
                    "upper": row.high,
                    "confidence_level": 0.95,
                    "method": f"over test {row.interval} and seeds",
                },
                **({"num_samples": row.n_test} if row.interval == "rows" else {}),
            },
        },
    }
