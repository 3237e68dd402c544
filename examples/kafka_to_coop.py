r"""Hand verdicts from a Kafka topic to Coop, ROOST's review console.

    verdicts ─> what a person should see ─> POST /api/v1/items/async/ ─> offset committed

An offset is committed after Coop has taken the item, so none is lost; an event that comes again has the same item id,
which is Coop's to know. Coop wants an item type with the fields `dmcl_sdk.exporters.COOP_FIELDS`, made in its dashboard
once.

    COOP_API_KEY=... python examples/kafka_to_coop.py --bootstrap-servers localhost:9092 --topic verdicts \
        --coop https://coop.example.org --type-id 2f9c4f
"""

from __future__ import annotations

import argparse
import os
from contextlib import closing

import httpx
from kafka import KafkaConsumer, OffsetAndMetadata, TopicPartition
from tenacity import retry, retry_if_exception_type, wait_random_exponential

from connectors.events import from_binary
from dmcl_sdk.exporters import to_coop
from dmcl_sdk.verdict import Verdict

LABELS = {"manipulated", "uncertain"}


def main() -> None:
    """Read, hand on, commit; until it is stopped."""
    parser = argparse.ArgumentParser(description="Verdicts from Kafka to Coop.")
    parser.add_argument("--bootstrap-servers", required=True)
    parser.add_argument("--topic", default="verdicts")
    parser.add_argument("--group", default="to-coop")
    parser.add_argument("--coop", required=True, help="its address")
    parser.add_argument("--type-id", required=True, help="of the item type")
    parser.add_argument("--most", type=int, help="stop after so many records")
    given = parser.parse_args()
    key = os.environ.get("COOP_API_KEY")
    if not key:
        raise SystemExit("COOP_API_KEY is not set")
    consumer = KafkaConsumer(
        given.topic,
        bootstrap_servers=given.bootstrap_servers,
        group_id=given.group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )
    with closing(consumer), httpx.Client(base_url=given.coop, headers={"x-api-key": key}, timeout=15) as coop:
        for number, record in enumerate(consumer, 1):
            hand_on(coop, dict(record.headers), record.value, given.type_id)
            partition = TopicPartition(record.topic, record.partition)
            consumer.commit({partition: OffsetAndMetadata(record.offset + 1, "", -1)})
            if number == given.most:
                return


def hand_on(coop: httpx.Client, headers: dict[str, bytes], value: bytes, type_id: str) -> None:
    """What a person should see goes to Coop; all else is passed over."""
    event = from_binary(headers, value)
    verdict = Verdict.model_validate_json(event.body)
    if verdict.summary.label not in LABELS:
        return
    submit(coop, to_coop(verdict, type_id=type_id, item_id=event.subject))
    print(f"{event.subject}: {verdict.summary.label}", flush=True)


@retry(retry=retry_if_exception_type(httpx.TransportError), wait=wait_random_exponential(max=30))
def submit(coop: httpx.Client, item: dict[str, object]) -> None:
    """Until Coop answers. What it refuses ends the program: the key or the item type is wrong."""
    answer = coop.post("/api/v1/items/async/", json=item)
    if answer.status_code == httpx.codes.TOO_MANY_REQUESTS or answer.is_server_error:
        raise httpx.TransportError(f"Coop answers {answer.status_code}")
    answer.raise_for_status()


if __name__ == "__main__":
    main()
