"""A fleet as large as is promised: copies of one worker that really called in, and what it costs to read them all."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from chalicelib import liveness
from chalicelib.tables import Cold, Hot, connection
from tests.server.units import read_units, size_of
from tests.server.world import Worker, World

GPUS = 8
BATCH = 25
"""Items that DynamoDB takes in one request."""
Raw = dict[str, Any]


def worker_with_history(world: World) -> Worker:
    """Eight GPUs, a disk, two boots, five images: its items are as large as an ordinary worker's."""
    devices = [
        {
            "index": i,
            "name": "NVIDIA H100 80GB HBM3",
            "memory_total": 85520809984,
            "cuda_version": "13.0",
            "uuid": f"GPU-{uuid.uuid4()}",
            "driver_version": "580.95.05",
        }
        for i in range(GPUS)
    ]
    worker = world.worker(machine_id=uuid.uuid4().hex, boot_id="b1", gpu_info={"count": GPUS, "devices": devices})
    worker.register(boot_id="b2")
    worker.journal_id = "a journal"
    worker.beat(
        gpu_usage=[{"index": i, "memory_used": 80 * 2**30 + i, "utilization": 99} for i in range(GPUS)],
        disk={"total": 10**13, "used": 10**12, "free": 9 * 10**12, "percent": 10.0},
        images=[
            {"id": f"sha256:{uuid.uuid4().hex * 2}", "tags": [f"vllm/vllm-openai:v0.{i}"], "size": 2**34, "created": ""}
            for i in range(5)
        ],
    )
    return worker


def raw(model: Any, *key: str) -> Raw:
    """An item as it is stored."""
    item: Raw = model._get_connection().get_item(*key)["Item"]
    return item


def fleet_of(first: Worker, size: int, **hot: Any) -> None:
    """As many workers like the first one, which is of them, all of them whole: what each of them says and has."""
    ids = copies(raw(Hot, first.id), size - 1, **hot)
    for part, named in (("cold", ("name", "rank")), ("seen", ())):
        item = raw(Cold, first.id, part)
        of_each = ({"worker_id": {"S": i}, **{key: {"S": f"like-{i}"} for key in named}} for i in ids)
        _store(Cold.Meta.table_name, [item | own for own in of_each])


def copies(of: Raw, count: int, **changed: Any) -> list[str]:
    """Store `count` copies of a hot item; their ids. `changed` are attributes as they are stored."""
    ids = [str(uuid.uuid4()) for _ in range(count)]
    _store(Hot.Meta.table_name, [{**of, "worker_id": {"S": each}, **changed} for each in ids])
    return ids


def _store(table: str, items: list[Raw]) -> None:
    client: Any = connection().client

    def store(batch: list[Raw]) -> None:
        left = {table: [{"PutRequest": {"Item": each}} for each in batch]}
        while left:
            left = client.batch_write_item(RequestItems=left).get("UnprocessedItems", {})

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(store, [items[at : at + BATCH] for at in range(0, len(items), BATCH)]))


@dataclass(frozen=True)
class Segment:
    """What the sweep reads of one segment. `charged`: by the engine's own account of the read units."""

    items: int
    pages: int
    bytes: int
    read_units: float
    charged: float


def segments() -> list[Segment]:
    """The sweep's Scan again, with everything that it passes over."""
    return [_segment(list(_pages(number))) for number in range(liveness.SEGMENTS)]


def _pages(segment: int) -> Iterator[Raw]:
    client: Any = connection().client
    asked: Raw = {"TableName": Hot.Meta.table_name, "Segment": segment, "TotalSegments": liveness.SEGMENTS}
    while True:
        page: Raw = client.scan(**asked, ReturnConsumedCapacity="TOTAL")
        yield page
        if "LastEvaluatedKey" not in page:
            return
        asked["ExclusiveStartKey"] = page["LastEvaluatedKey"]


def _segment(pages: list[Raw]) -> Segment:
    items = [page["Items"] for page in pages]
    return Segment(
        items=sum(map(len, items)),
        pages=len(pages),
        bytes=sum(size_of(item) for page in items for item in page),
        read_units=sum(map(read_units, items)),
        charged=sum(page["ConsumedCapacity"]["CapacityUnits"] for page in pages),
    )
