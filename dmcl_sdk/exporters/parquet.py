"""Verdicts as a Parquet table, for warehouses and notebooks: a row a span, and one for a video without spans.

The first columns are those of the video and stand in each of its rows: to count videos, count distinct `uri`.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import IO, Any

from dmcl_sdk.errors import DeploymentError
from dmcl_sdk.exporters.fields import flat_fields
from dmcl_sdk.verdict import SCHEMA, Span, Verdict

PARQUET_COLUMNS: dict[str, str] = {
    "uri": "string",
    "item_id": "string",
    "item_type": "string",
    "sha256": "string",
    "version_id": "string",
    "duration_ms": "int64",
    "status": "string",
    "label": "string",
    "probability": "double",
    "probability_low": "double",
    "probability_high": "double",
    "flagged_ms": "int64",
    "scanned_ms": "int64",
    "coverage": "double",
    "faces": "int64",
    "reasons": "list<string>",
    "action": "string",
    "queue": "string",
    "policy": "string",
    "policy_mode": "string",
    "model": "string",
    "model_sha256": "string",
    "span_id": "int64",
    "track_id": "int64",
    "start_ms": "int64",
    "end_ms": "int64",
    "peak_ms": "int64",
    "span_label": "string",
    "span_probability": "double",
    "span_rgb": "double",
    "span_flow": "double",
    "box_left": "double",
    "box_top": "double",
    "box_width": "double",
    "box_height": "double",
}
"""The columns in their order, with Arrow's names of their types. New ones are added at the end."""

_REQUIRED = {"uri", "status"}


def to_rows(verdict: Verdict) -> list[dict[str, Any]]:
    """The rows of one verdict; each has every column, None where the verdict has nothing.

    Probabilities are P(manipulated) in 0..1, times milliseconds from the start of the video, boxes fractions of the
    displayed frame where the span is strongest.
    """
    return [_video(verdict) | _span(span) for span in verdict.spans or (None,)]


def write_parquet(verdicts: Iterable[Verdict], file: IO[bytes], *, rows_at_once: int = 10_000) -> int:
    """Write a table of verdicts, and return how many rows it has.

    Verdicts are taken one by one, so that there may be more of them than memory holds. The file can be read once this
    has returned: write beside the place where it is looked for, and rename.

    Args:
        verdicts: in the order of the rows.
        file: open for writing; it is not closed.
        rows_at_once: rows of a row group, and so those held in memory.

    Raises:
        DeploymentError: pyarrow is not installed.
    """
    arrow, parquet = _pyarrow()
    schema, written = parquet_schema(), 0
    rows = (row for verdict in verdicts for row in to_rows(verdict))
    with parquet.ParquetWriter(file, schema, compression="zstd") as writer:
        while group := list(islice(rows, rows_at_once)):
            writer.write_table(arrow.Table.from_pylist(group, schema=schema))
            written += len(group)
    return written


def parquet_schema() -> Any:  # noqa: ANN401 - an optional package's own type
    """The `pyarrow.Schema` of the table; its metadata names the format of the verdicts.

    Raises:
        DeploymentError: pyarrow is not installed.
    """
    arrow, _ = _pyarrow()
    types = {name: arrow.type_for_alias(name) for name in ("string", "int64", "double")}
    types["list<string>"] = arrow.list_(arrow.field("element", arrow.string()))  # as Parquet names it
    fields = [
        arrow.field(name, types[kind], nullable=name not in _REQUIRED)
        for name, kind in PARQUET_COLUMNS.items()
    ]
    return arrow.schema(fields, metadata={"dmcl.schema": SCHEMA})


def _video(verdict: Verdict) -> dict[str, Any]:
    item, flat = verdict.asset.item, flat_fields(verdict)
    own = {
        "item_id": item and item.id,
        "item_type": item and item.type,
        "version_id": verdict.asset.version_id,
        "reasons": list(dict.fromkeys(reason.code for reason in verdict.reasons)),
        "model_sha256": verdict.model and verdict.model.sha256,
    }
    return {name: own[name] if name in own else flat.get(name) for name in PARQUET_COLUMNS}


def _span(span: Span | None) -> dict[str, Any]:
    if span is None:
        return {}
    box = span.box_at_peak
    return {
        "span_id": span.span_id,
        "track_id": span.track_id,
        "start_ms": span.start_ms,
        "end_ms": span.end_ms,
        "peak_ms": span.peak_ms,
        "span_label": span.label,
        "span_probability": span.probability,
        "span_rgb": span.modalities.rgb,
        "span_flow": span.modalities.flow,
        "box_left": box.left,
        "box_top": box.top,
        "box_width": box.width,
        "box_height": box.height,
    }


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow as pa  # noqa: PLC0415 - an optional extra
        import pyarrow.parquet as pq  # noqa: PLC0415 - the same
    except ImportError as error:
        raise DeploymentError("Parquet needs pyarrow: pip install 'dmcl-sdk[parquet]'") from error
    return pa, pq
