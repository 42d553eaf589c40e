"""What a worker sends and receives: one struct per request, response and command (docs/protocol.md).

Unknown fields are ignored here, so that a newer agent can talk to an older server. What identifies is bounded; what a
worker tells (messages, logs, images) is taken at any length and cut by `brief`, since a refused report is a lost one.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from muster.api.lifecycle import Status

_LINE = r"^[^\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]+(?!\n)$"
Text = Annotated[str, Meta(min_length=1, max_length=512, pattern=_LINE)]
"""A line of printable text: no control characters, no ends of lines, nothing that turns the direction of writing."""
Name = Annotated[str, Meta(min_length=1, max_length=128, pattern=_LINE)]
Id = Annotated[str, Meta(min_length=1, max_length=128)]
Ids = Annotated[list[Annotated[str, Meta(max_length=512)]], Meta(max_length=1024)]
"""Ids that need not be known here, nor even be ids."""
Count = Annotated[int, Meta(ge=0, le=2**53)]
Bytes = Annotated[int, Meta(ge=0, le=2**53)]
Port = Annotated[int, Meta(ge=1, le=65535)]
ImageReference = Annotated[str, Meta(max_length=512, pattern=r"^[A-Za-z0-9][A-Za-z0-9._/:@-]*(?!\n)$")]
GpuIndex = Annotated[int, Meta(ge=0, le=63)]
Labels = Annotated[
    dict[
        Annotated[str, Meta(min_length=1, max_length=64)],
        Annotated[str, Meta(max_length=256)],
    ],
    Meta(max_length=64),
]
TUNNEL = "tunnel"
"""The feature that an agent announces when it can serve models through tunnels."""
Features = Annotated[
    list[Annotated[str, Meta(min_length=1, max_length=32, pattern=r"^[a-z0-9-]+(?!\n)$")]], Meta(max_length=32)
]
EnvName = Annotated[str, Meta(min_length=1, max_length=256, pattern=r"^[A-Za-z_][A-Za-z0-9_]*(?!\n)$")]


MAX_MESSAGE, MAX_CODE = 16 * 1024, 64


def brief(text: str, limit: int = MAX_MESSAGE) -> str:
    """The beginning of a text that somebody else wrote; at most `limit` characters."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


class FromHost(Struct, forbid_unknown_fields=True):
    """An environment variable whose value the worker's host fills in. The control plane never receives the value."""

    from_host: Literal[True]


Env = dict[EnvName, Annotated[str, Meta(pattern=r"^[^\x00]*$")] | FromHost]
Config = dict[str, Any]
Since = Annotated[
    str,
    Meta(
        max_length=64,
        pattern=r"^(\d+(\.\d+)?|\d{4}-\d\d-\d\d([Tt ]\d\d:\d\d(:\d\d(\.\d+)?)?([Zz]|[+ -]\d\d:?\d\d)?)?)(?!\n)$",
    ),
]
"""A point in time: RFC 3339, or epoch seconds."""


class GpuDevice(Struct, omit_defaults=True):
    """One GPU, or one MIG device, as NVML names it.

    `memory_total` is in bytes and is missing if the size is unknown; earlier releases send 0 then. A GPU that is `lost`
    cannot be used, and nothing new is placed on it.
    """

    index: GpuIndex
    name: Annotated[str, Meta(max_length=256)] = ""
    memory_total: Bytes | None = None
    cuda_version: Annotated[str, Meta(max_length=64)] | None = None
    uuid: Annotated[str, Meta(max_length=128)] | None = None
    driver_version: Annotated[str, Meta(max_length=64)] | None = None
    lost: bool = False


class GpuInfo(Struct):
    """The GPUs of a worker."""

    count: Annotated[int, Meta(ge=0, le=64)]
    devices: Annotated[list[GpuDevice], Meta(max_length=64)] = []


class SystemInfo(Struct):
    """The host of a worker; `memory_total` is in bytes."""

    hostname: Annotated[str, Meta(max_length=256)]
    cpu_count: Count = 0
    memory_total: Bytes = 0
    os: Annotated[str, Meta(max_length=256)] = ""


class Registration(Struct):
    """Body of `POST /api/workers/register`."""

    name: Name
    token: str
    gpu_info: GpuInfo
    system_info: SystemInfo
    machine_id: Id | None = None
    boot_id: Id | None = None
    past_boot_ids: Annotated[list[Id], Meta(max_length=16)] | None = None
    agent_version: Annotated[str, Meta(max_length=64)] | None = None
    labels: Labels | None = None
    address: Text | None = None
    features: Features | None = None


class WorkersGateway(Struct):
    """A gateway that the worker may dial, and the `ticket` to present, which is good for `expires_in` seconds."""

    url: str
    ticket: str
    expires_in: float


class Nothing(Struct):
    """The body of a worker's route that takes none: empty, or an object, whose fields of a newer agent are ignored."""


class Gateways(Struct):
    """The gateways of a worker that announced the feature `tunnel`: all of them, none if the list is empty.

    `direct_wait`: seconds for which a model that is to stop goes on serving, because gateways reach this worker without
    a tunnel and learn of the change by polling; 0 where they do not.
    """

    gateways: list[WorkersGateway] = []
    direct_wait: float = 0


class Registered(Struct):
    worker_id: str
    message: str
    token: str
    session: int
    next_heartbeat_in: int
    gateways: Gateways | UnsetType = UNSET


class GpuProcess(Struct, omit_defaults=True):
    """A process that uses memory of a GPU; `container` is the id of its container, if it runs in one.

    `memory` is in bytes and is missing if the driver lists processes without sizes.
    """

    pid: Count
    memory: Bytes | None = None
    name: Annotated[str, Meta(max_length=256)] = ""
    container: Annotated[str, Meta(max_length=128)] | None = None


class GpuUsage(Struct, omit_defaults=True):
    """The use of one GPU: `memory_used` in bytes, `utilization` in percent.

    The answer to `containers` also has `temperature` in degrees Celsius, `power` in watts, and the processes; a
    heartbeat has not. A figure that is unknown is missing: 0 is a measurement.
    """

    index: GpuIndex
    memory_used: Bytes | None = None
    utilization: Annotated[float, Meta(ge=0, le=100)] | None = None
    temperature: float | None = None
    power: Annotated[float, Meta(ge=0)] | None = None
    processes: Annotated[list[GpuProcess], Meta(max_length=1024)] | None = None


class DiskPath(Struct):
    """A folder of the worker, its purpose, and the size of its file system in bytes."""

    path: Annotated[str, Meta(max_length=4096)]
    purpose: Annotated[str, Meta(max_length=64)]
    total: Bytes
    used: Bytes
    free: Bytes


class Disk(Struct):
    """The file system that holds images and weights: sizes in bytes, and the used part in percent.

    `paths` are all folders of the worker that fill up, which may be on several file systems. A heartbeat has `paths`
    only when they changed.
    """

    total: Bytes
    used: Bytes
    free: Bytes
    percent: Annotated[float, Meta(ge=0, le=100)] = 0
    as_of: str | None = None
    paths: Annotated[list[DiskPath], Meta(max_length=16)] | None = None


class Image(Struct, omit_defaults=True):
    """A container image; `size` is in bytes. Its `digests` at registries stay when a tag moves."""

    id: str
    tags: list[str]
    size: Bytes
    created: str
    used_by: list[str] = []
    digests: list[str] = []


class ReportedCondition(Struct, omit_defaults=True):
    """Something that the host cannot do; `type` is a `ConditionType`, or one that only a newer release knows.

    `gpus` or `deployments` name what it holds up. Without either it holds up all deployments of the worker; an empty
    list of deployments holds up none. The control plane keeps 32 types, and 1,024 characters of each message.
    """

    type: Annotated[str, Meta(min_length=1, max_length=64)]
    message: str
    gpus: Annotated[list[GpuIndex], Meta(max_length=64)] | None = None
    deployments: Ids | None = None


class Orphan(Struct):
    """Something of Muster that runs on the host and that this worker was not sent, with the GPUs that it was given."""

    deployment_id: Annotated[str, Meta(max_length=512)]
    gpus: Annotated[list[GpuIndex], Meta(max_length=64)] = []


class Heartbeat(Struct):
    """Body of `POST /api/workers/{worker_id}/heartbeat`. `gpu_info` is there only when it has changed.

    `pending_deployments` have nothing running, and the agent starts them without being told again.
    """

    status: Literal["online", "draining", "offline"]
    gpu_usage: Annotated[list[GpuUsage], Meta(max_length=64)]
    active_deployments: Ids
    session: Count | None = None
    journal_id: Id | None = None
    inbox: Count | None = None
    acks: Ids = []
    disk: Disk | None = None
    images: list[Image] | None = None
    conditions: list[ReportedCondition] | None = None
    gpu_info: GpuInfo | None = None
    orphans: Annotated[list[Orphan], Meta(max_length=1024)] | None = None
    pending_deployments: Ids = []

    @property
    def is_basic(self) -> bool:
        """Whether the sender is a basic client: it implements worker-api.md only, and acknowledges nothing."""
        return self.session is None and self.journal_id is None and self.inbox is None and not self.acks


class ShortHeartbeat(Struct):
    """What a worker may send in place of a `Heartbeat`, if nothing but the figures differs from an earlier one.

    `unchanged` is the `digest` that answered that heartbeat. The status is online. `usage` has the figures of the disk
    and of the GPUs, packed (muster/api/usage.py).
    """

    session: Count
    unchanged: Annotated[str, Meta(min_length=1, max_length=64)]
    usage: Annotated[bytes, Meta(max_length=24 + 64 * 8)]


class Deploy(Struct, tag_field="type", tag="deploy"):
    """Bring up the model as this generation of the deployment; a container of an older one is replaced."""

    command_id: Id
    deployment_id: Id
    generation: Count
    backend: str
    model: str
    config: dict[str, Any] = {}
    image: str | None = None
    env: Env = {}
    gpus: list[GpuIndex] = []
    restart: Literal["on-failure", "never"] = "on-failure"


class Stop(Struct, tag_field="type", tag="stop"):
    """End whatever container the deployment has here, of this generation or an older one."""

    command_id: Id
    deployment_id: Id
    generation: Count


class PullImage(Struct, tag_field="type", tag="pull_image"):
    command_id: Id
    expires_in: float
    image: str


class DeleteImage(Struct, tag_field="type", tag="delete_image"):
    command_id: Id
    expires_in: float
    image_id: str
    force: bool = False


class ListImages(Struct, tag_field="type", tag="list_images"):
    command_id: Id
    expires_in: float


class ListContainers(Struct, tag_field="type", tag="list_containers"):
    command_id: Id
    expires_in: float


class ListModels(Struct, tag_field="type", tag="list_models"):
    command_id: Id
    expires_in: float


class DeleteModel(Struct, tag_field="type", tag="delete_model"):
    command_id: Id
    expires_in: float
    model: str


class ContainerLogs(Struct, tag_field="type", tag="container_logs"):
    """`container_id` may also be a deployment's id: then whatever container it is or was in."""

    command_id: Id
    expires_in: float
    container_id: str
    lines: int = 200
    since: str | None = None


class StopContainer(Struct, tag_field="type", tag="stop_container"):
    command_id: Id
    expires_in: float
    container_id: str


class DiskUsage(Struct, tag_field="type", tag="disk_usage"):
    command_id: Id
    expires_in: float


class Prune(Struct, tag_field="type", tag="prune"):
    command_id: Id
    expires_in: float
    images: bool = False
    containers: bool = False
    volumes: bool = False
    dry_run: bool = False


Intent = Deploy | Stop
OperationCommand = (
    PullImage
    | DeleteImage
    | ListImages
    | ListContainers
    | ListModels
    | DeleteModel
    | ContainerLogs
    | StopContainer
    | DiskUsage
    | Prune
)
Command = Intent | OperationCommand

READS = frozenset({"list_images", "list_containers", "list_models", "container_logs", "disk_usage"})
"""Operations that change nothing: they expire sooner and unsent ones are shared."""


class HeartbeatAnswer(Struct):
    """With a `digest`, the next heartbeat may be a `ShortHeartbeat`. Basic clients receive no digest.

    `gateways` are there when the control plane looked at what the worker has to do, and the worker knows tunnels.
    """

    commands: list[Command]
    inbox: int
    next_heartbeat_in: int
    digest: str | UnsetType = UNSET
    gateways: Gateways | UnsetType = UNSET


class ShortHeartbeatAnswer(Struct, omit_defaults=True):
    """The answer to a `ShortHeartbeat`: there are no commands. If `full` is true, the next one must be a `Heartbeat`.

    `next_heartbeat_in` is 0 where the control plane needs that heartbeat at once.
    """

    next_heartbeat_in: int
    full: bool = False


class Progress(Struct, omit_defaults=True):
    """The progress of a long step.

    `current` and `total` are bytes if the phase moves bytes; `rate` is in bytes per second. `percent` is the part of
    the whole step, over all phases, and never decreases.
    """

    phase: Annotated[str, Meta(max_length=64)]
    current: Count | None = None
    total: Count | None = None
    percent: Annotated[float, Meta(ge=0, le=100)] | None = None
    rate: Count | None = None


class Fix(Struct, omit_defaults=True):
    """A change that prevents the crash: flags for `config`, a number of `gpus`, or variables for `env`."""

    config: Config = {}
    gpus: Count | None = None
    env: dict[str, str] = {}


class CrashLoop(Struct, omit_defaults=True):
    """The failures in a row of a deployment.

    `error_code` is the last cause, and `times` counts the failures in a row with that cause. `next_start_in` is the
    number of seconds until the next start, and null while a start is under way or the model runs.
    """

    error_code: str
    times: Count
    next_start_in: Count | None = None


class Report(Struct):
    """Body of `POST /api/workers/{worker_id}/deployments/{deployment_id}/status`, its error form included.

    `address` is the worker's address, where the instance can be reached by it; empty where it listens elsewhere.
    `serving` is the generation of the instance that runs while a newer one is prepared; 0 when it has ended.
    `crash_loop` is in every report for as long as the loop lasts.
    """

    status: Literal["pending", "downloading", "starting", "running", "stopping", "stopped", "error", "deploying"]
    container_id: str | None = None
    port: Port | None = None
    message: str | None = None
    error_code: str | None = None
    logs: str | None = None
    session: Count | None = None
    generation: Count | None = None
    sequence: Count | None = None
    progress: Progress | None = None
    restarts: Count | None = None
    fix: Fix | None = None
    address: str | None = None
    serving: Count | None = None
    crash_loop: CrashLoop | None = None

    @property
    def reported(self) -> Status:
        """`deploying`, from the diagram of worker-api.md, is read as starting."""
        return Status.STARTING if self.status == "deploying" else Status(self.status)


class Applied(Struct):
    """`applied` is false for a late or repeated report, which changed nothing; `status` is what is stored."""

    applied: bool
    status: str


class Container(Struct):
    """A container or a process of a worker. `ours` is true if Muster started it; Muster stops no other.

    `image_id` is the id of one of the worker's images, whose digest is the one in use.
    """

    id: Annotated[str, Meta(max_length=512)] = ""
    name: Annotated[str, Meta(max_length=256)] = ""
    image: Annotated[str, Meta(max_length=512)] = ""
    state: Annotated[str, Meta(max_length=64)] = ""
    ours: bool = False
    deployment_id: Annotated[str, Meta(max_length=128)] | None = None
    generation: Count | None = None
    pid: Count | None = None
    created: Annotated[str, Meta(max_length=64)] | None = None
    image_id: Annotated[str, Meta(max_length=512)] | None = None


class CachedModel(Struct):
    """A model whose weights are in the cache of a worker; `size` is in bytes."""

    model: Text
    size: Bytes


class Kept(Struct):
    """An object that prune did not delete, its size in bytes, and the reason."""

    what: Annotated[str, Meta(max_length=512)]
    bytes: Bytes
    why: Annotated[str, Meta(max_length=512)]


class Images(Struct, omit_defaults=True):
    """The images of a worker. `as_of` is the time of the worker's report, if the answer is from a report."""

    images: list[Image]
    as_of: str | None = None


class Containers(Struct, omit_defaults=True):
    """The containers of a worker. `gpus` is the use of its GPUs at that moment, and empty if the worker has none."""

    containers: list[Container]
    gpus: list[GpuUsage] = []


class Models(Struct):
    """The models whose weights are in the cache of a worker."""

    models: list[CachedModel]


class Logs(Struct, omit_defaults=True):
    """The text of a log. `next_since`, sent as `since`, continues after the last line."""

    logs: str
    next_since: str | None = None
    truncated: bool = False


class Deleted(Struct):
    """The ids, tags, or names that were deleted."""

    deleted: list[str]


class Pulled(Struct):
    """The image that was pulled."""

    id: str
    tags: list[str]


class Pruned(Struct):
    """The space in bytes that prune freed (with `dry_run`: would free), and the objects that it kept."""

    space_reclaimed: Bytes
    kept: list[Kept] = []


OUTPUTS: dict[str, type[Struct]] = {
    "pull_image": Pulled,
    "delete_image": Deleted,
    "list_images": Images,
    "list_containers": Containers,
    "list_models": Models,
    "delete_model": Deleted,
    "container_logs": Logs,
    "stop_container": Container,
    "disk_usage": Disk,
    "prune": Pruned,
}
"""Operation type -> the shape of its output."""


class Result(Struct):
    """Body of `POST /api/workers/{worker_id}/commands/{command_id}/result`."""

    status: Literal["running", "succeeded", "failed"]
    session: Count | None = None
    progress: Progress | None = None
    output: dict[str, Any] | None = None
    error_code: str | None = None
    message: str | None = None
