"""Verdicts in the shapes of others: pure functions, each with a golden file in the tests."""

from dmcl_sdk.exporters.coop import COOP_FIELDS, to_coop
from dmcl_sdk.exporters.osprey import to_osprey
from dmcl_sdk.exporters.parquet import PARQUET_COLUMNS, parquet_schema, to_rows, write_parquet
from dmcl_sdk.exporters.rekognition import to_rekognition
from dmcl_sdk.exporters.webvtt import to_webvtt

__all__ = [
    "COOP_FIELDS",
    "PARQUET_COLUMNS",
    "parquet_schema",
    "to_coop",
    "to_osprey",
    "to_rekognition",
    "to_rows",
    "to_webvtt",
    "write_parquet",
]
