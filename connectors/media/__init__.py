"""The videos that requests name, fetched to this machine: `s3://`, `https://` and `file://`."""

from connectors.media.settings import MediaSettings, S3Settings
from connectors.media.store import LocalMedia, MediaStore

__all__ = ["LocalMedia", "MediaSettings", "MediaStore", "S3Settings"]
