"""Messages that can never be scanned, each with the reason that it should be given."""

from __future__ import annotations

import json
from pathlib import Path


def poison_kinds(uploads: Path) -> list[tuple[str, bytes | None]]:
    """Reason and message; files that the messages name are put into the folder."""

    def upload(name: str, data: bytes) -> str:
        (uploads / name).write_bytes(data)
        return (uploads / name).as_uri()

    def record(**changes: object) -> bytes:
        found: dict[str, object] = {"key": "clip.mp4", "size": 3}
        fields = {"eventVersion": "2.1", "eventSource": "aws:s3", "eventName": "ObjectCreated:Put"}
        entity = {"bucket": {"name": "uploads"}, "object": found | {"key": changes.pop("key", "clip.mp4")}}
        return asked(Records=[fields | {"s3": entity} | changes])

    clip = upload("plain.mp4", b"plain text")
    (uploads / "folder").mkdir(exist_ok=True)
    return [
        ("empty", None),
        ("empty", b""),
        ("empty", b" \n\t"),
        ("too_large", b'"' + b"x" * 1_048_575 + b'"'),
        ("not_utf8", b'{"uri": "\xff\xfe"}'),
        ("not_utf8", rb'{"uri": "file:///\ud800"}'),
        ("not_json", b"{"),
        ("not_json", b"<xml/>"),
        ("not_json", b'{"size_bytes": NaN}'),
        ("duplicate_key", b'{"uri": "file:///a", "uri": "file:///b"}'),
        ("too_deep", b"[" * 5000 + b"]" * 5000),
        ("too_many_records", asked(Records=[{}] * 1001)),
        ("unrecognised", b"[]"),
        ("unrecognised", b'"text"'),
        ("unrecognised", asked(hello="world")),
        ("unsupported_version", asked(schema="dmcl.scan/9", uri=clip)),
        ("unsupported_version", record(eventVersion="9.0")),
        ("bad_s3_event", asked(Records=[{"eventName": "ObjectCreated:Put"}])),
        ("bad_key", record(key="%ff.mp4")),
        ("bad_cloudevent", asked(specversion="1.0", type="t", source="s", data={"uri": clip})),
        ("bad_request", asked(uri="ftp://host/clip.mp4")),
        ("bad_request", asked(uri=clip, colour="red")),
        ("path_refused", asked(uri="file:///etc/passwd")),
        ("not_found", asked(uri=(uploads / "absent.mp4").as_uri())),
        ("not_a_file", asked(uri=(uploads / "folder").as_uri())),
        ("empty", asked(uri=upload("empty.mp4", b""))),
        ("digest_mismatch", asked(uri=clip, sha256="0" * 64)),
        ("size_mismatch", asked(uri=clip, size_bytes=3)),
        ("address_refused", asked(uri="https://169.254.169.254/latest/meta-data")),
        ("killed_worker", asked(uri=upload("segfault.mp4", b"#segfault"))),
        ("killed_worker", asked(uri=upload("abort.mp4", b"#abort"))),
        ("detector_failed", asked(uri=upload("bug.mp4", b"#bug"))),
        ("timeout", asked(uri=upload("forever.mp4", b"#forever"))),
    ]


def asked(**fields: object) -> bytes:
    """A message with these fields."""
    return json.dumps(fields).encode()
