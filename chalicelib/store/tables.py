"""The state in DynamoDB: seven tables, and nothing outside them.

    table        key                        what an item is
    heartbeats   worker_id                  what every heartbeat writes, at most 1 KiB, on no index; alone in its table,
                                            since the sweep reads that whole (docs/adr/0012)
    workers      worker_id, part            "cold": inventory, labels, GPU claims; "seen": what it last listed;
                                            "conditions": the text of those that it last reported
                 "provisional"              a registration that waits for the worker's silence
                 "refusals"                 who asked for its name lately
                 name#<name>, "name"        who owns that name
                 address#<host>, "address"  the workers that claim that address
                 view, "capacity"           when the index `free` was last compared with every worker
    deployments  deployment_id              intent, status and order of a deployment
                 name#<name>                who owns that name
    commands     worker_id, D#<deployment>  the slot: the latest intent for a deployment there, and its receipt
                 worker_id, O#<operation>   an operation that the worker has not taken yet
                 worker_id, R#<read>        the latest operation of a read, to be shared while it is not sent
    operations   operation_id               an operation and its result; once#<key>: what an Idempotency-Key made;
                                            count#<type>#<status>: how many ended so; waits: who waits now
    credentials  credential_id              registration tokens and API keys, as digests
                 "first"                    which key was made because there was no admin's
                 "tickets"                  the master keys under which gateways' tickets are signed
                 gateway#<gateway>          a gateway that registered
    events       subject, at                a line of a timeline, once under each subject that it is looked up by
                 usage#<day>, <ledger>#…    what one key used of one model on that day, by one gateway's ledger

How they are read and written is items.py. Times are epoch seconds.
"""

from __future__ import annotations

from typing import Any

from botocore.config import Config
from pynamodb.attributes import (
    BinaryAttribute,
    BooleanAttribute,
    NumberAttribute,
    UnicodeAttribute,
    UnicodeSetAttribute,
)
from pynamodb.connection import Connection, TableConnection
from pynamodb.constants import PAY_PER_REQUEST_BILLING_MODE
from pynamodb.exceptions import TableError
from pynamodb.indexes import GlobalSecondaryIndex, IncludeProjection, KeysOnlyProjection
from pynamodb.models import Model

from chalicelib.store.settings import TABLE_PREFIX
from muster.api.version import VERSION

CONFIG = Config(user_agent=f"muster/{VERSION}")
"""botocore would build its own User-Agent anew, twice for each request: a fourteenth of a heartbeat (docs/adr/0044)."""


class Meta:
    """Shorter than API Gateway's 29 seconds, with room for a retry."""

    region: str | None = None
    billing_mode = PAY_PER_REQUEST_BILLING_MODE
    connect_timeout_seconds = 1
    read_timeout_seconds = 3
    max_retry_attempts = 3
    max_pool_connections = 64


class Item(Model):
    """One client for all models: PynamoDB makes one for each, and each reads botocore's JSON again."""

    @classmethod
    def _get_connection(cls) -> TableConnection:
        is_first_use = cls._connection is None
        made = super()._get_connection()
        if is_first_use and cls is WorkerRecord:
            from chalicelib.store.answers import AnswerParsers  # botocore is there by now

            made.connection.session.set_default_client_config(CONFIG)
            made.connection.session.register_component("response_parser_factory", AnswerParsers())
        elif is_first_use:
            made.connection._client = connection().client
        return made


class Listing(GlobalSecondaryIndex[Any]):
    """Every item of one kind in a readable order. Keys only, and neither key ever changes."""

    class Meta:
        index_name = "listing"
        projection = KeysOnlyProjection()

    kind = UnicodeAttribute(hash_key=True)
    rank = UnicodeAttribute(range_key=True)


class Waiting(GlobalSecondaryIndex[Any]):
    """Deployments that wait for a place; sparse, so that it is empty most of the time."""

    class Meta:
        index_name = "waiting"
        projection = KeysOnlyProjection()

    waiting = UnicodeAttribute(hash_key=True)
    rank = UnicodeAttribute(range_key=True)


class Free(GlobalSecondaryIndex[Any]):
    """Workers that take deployments, those with the fewest free GPUs first. No heartbeat changes it (docs/adr/0041)."""

    class Meta:
        index_name = "free"
        projection = IncludeProjection(["free", "labels"])

    open = UnicodeAttribute(hash_key=True)
    room = UnicodeAttribute(range_key=True)


class WorkerHeartbeat(Item):
    """What a heartbeat writes. Stored names are short: a unit is 1 KiB, and the sweep pays for every byte."""

    class Meta(Meta):
        table_name = TABLE_PREFIX + "heartbeats"

    worker_id = UnicodeAttribute(hash_key=True)

    # Tokens, as digests of 32 bytes. Until `digest` is first used, `previous` and `used` (for 10 minutes) and `joined`
    # are valid too.
    digest = BinaryAttribute(attr_name="d", null=True, legacy_encoding=False)  # the token that was issued last
    previous = BinaryAttribute(attr_name="p", null=True, legacy_encoding=False)  # the token that was issued before it
    used = BinaryAttribute(attr_name="o", null=True, legacy_encoding=False)  # the last token that was used
    previous_until = NumberAttribute(attr_name="pu", null=True)  # when `previous` and `used` expire
    joined = BinaryAttribute(attr_name="j", null=True, legacy_encoding=False)  # the token that it registered with
    retired = BinaryAttribute(attr_name="r", null=True, legacy_encoding=False)  # digests of earlier sessions

    # The agent
    session = NumberAttribute(attr_name="s")  # grows with each registration that is a new session
    boot = BinaryAttribute(attr_name="b", null=True, legacy_encoding=False)  # digest of the boot id
    journal = BinaryAttribute(attr_name="jo", null=True, legacy_encoding=False)  # digest of the journal's id

    tunnels = BooleanAttribute(attr_name="tu", null=True)  # it serves models through tunnels

    # The last heartbeat
    last_seen = NumberAttribute(attr_name="ls")
    status = UnicodeAttribute(attr_name="st")  # "online", "draining", or "offline", which is a goodbye
    interval = NumberAttribute(attr_name="iv")  # seconds: the longest interval that the worker may be given
    beats = NumberAttribute(attr_name="n", default=0)  # heartbeats of this session
    usage = BinaryAttribute(attr_name="ug", null=True, legacy_encoding=False)  # figures (muster/api/usage.py)
    usage_before = BinaryAttribute(attr_name="us", null=True, legacy_encoding=False)  # what older releases wrote
    conditions = BinaryAttribute(attr_name="c", null=True, legacy_encoding=False)  # bits of types, at most 4 bytes

    # Reconciling
    inbox = NumberAttribute(attr_name="i")  # raised before a command is sent for the first time
    reconciled_digest = BinaryAttribute(attr_name="l", null=True, legacy_encoding=False)  # of the last reconciled body
    needs_reconcile = BooleanAttribute(attr_name="u", default=False)  # the next heartbeat must reconcile
    activity_at = NumberAttribute(attr_name="a", default=0)  # when somebody last wanted something of the worker
    # `activity_at` at the last heartbeat, if it was raised since: the worker's interval follows from it
    activity_before = NumberAttribute(attr_name="ab", null=True)

    # Silence and removal
    down_since = NumberAttribute(attr_name="dn", null=True)  # when the sweep recorded that it is offline
    lost = BooleanAttribute(attr_name="lo", null=True)  # the sweep marked its deployments lost
    ephemeral = BooleanAttribute(attr_name="e", null=True)  # the sweep removes it when it stays silent
    gone = BooleanAttribute(attr_name="g", null=True)  # it was removed: this item is a tombstone
    drains = BooleanAttribute(attr_name="dr", null=True)  # its timeline records that it drains itself


class WorkerRecord(Item):
    """What changes when a worker registers, is patched or is given work."""

    class Meta(Meta):
        table_name = TABLE_PREFIX + "workers"

    worker_id = UnicodeAttribute(hash_key=True)
    part = UnicodeAttribute(range_key=True, default="cold")
    kind = UnicodeAttribute(default="worker")
    rank = UnicodeAttribute()
    listing = Listing()
    name = UnicodeAttribute()
    gpu_info = UnicodeAttribute()  # JSON
    system_info = UnicodeAttribute()  # JSON
    labels = UnicodeAttribute(default="{}")  # JSON
    address = UnicodeAttribute(null=True)
    patched = UnicodeAttribute(default="[]")  # JSON: the fields that an operator set
    draining = BooleanAttribute(default=False)  # an operator drains it
    claims = UnicodeAttribute(default="{}")  # JSON: device index to deployment id; compared as text when written
    occupied = UnicodeAttribute(null=True)  # JSON of the same form: unknown instances; "*" may use any device
    down = BooleanAttribute(null=True)  # its heartbeat's item has `down_since`
    drains = BooleanAttribute(null=True)  # its heartbeat's item has `drains`
    open = UnicodeAttribute(null=True)  # "1" if deployments may be placed on it; this and the next two: capacity.py
    room = UnicodeAttribute(null=True)  # how many GPUs are free, and the name
    free = UnicodeAttribute(null=True)  # JSON of `capacity.Free`
    free_index = Free()
    machine_id = UnicodeAttribute(null=True)
    hostname = UnicodeAttribute()
    join_token_id = UnicodeAttribute()
    retired_boots = BinaryAttribute(null=True, legacy_encoding=False)  # digests of earlier boot ids
    agent_version = UnicodeAttribute(null=True)
    ephemeral = BooleanAttribute(default=False)
    registered_at = NumberAttribute()
    claimed = UnicodeAttribute(null=True)  # the address that it claims (address_claims.py)
    claimed_at = NumberAttribute(null=True)
    resolved = UnicodeAttribute(null=True)  # JSON: what the claimed address resolved to


class WorkerReport(Item):
    """What a worker last listed. Only people ask for it."""

    class Meta(Meta):
        table_name = TABLE_PREFIX + "workers"

    worker_id = UnicodeAttribute(hash_key=True)
    part = UnicodeAttribute(range_key=True, default="seen")
    active = UnicodeAttribute(default="[]")  # JSON: ids of its active deployments
    orphans = UnicodeAttribute(default="[]")  # JSON: ids of those that the control plane does not know
    images = BinaryAttribute(null=True, legacy_encoding=False)  # JSON, compressed
    images_at = NumberAttribute(null=True)
    paths = UnicodeAttribute(null=True)  # JSON: the folders of its disks


class Conditions(Item):
    """What a worker reports that it cannot do: JSON of `conditions.State`, compared as text when it is written."""

    class Meta(Meta):
        table_name = TABLE_PREFIX + "workers"

    worker_id = UnicodeAttribute(hash_key=True)
    part = UnicodeAttribute(range_key=True, default="conditions")
    state = UnicodeAttribute()


class Provisional(Item):
    """A registration for an online worker that was kept aside (provisional.py).

    `digest` is the token that it was answered with, `previous` the one before that, `by` the registration token's.
    `session` is the worker's when it was kept, `issued` the one that it gets when it is promoted.
    """

    PART = "provisional"

    class Meta(Meta):
        table_name = TABLE_PREFIX + "workers"

    worker_id = UnicodeAttribute(hash_key=True)
    part = UnicodeAttribute(range_key=True, default=PART)
    digest = BinaryAttribute(legacy_encoding=False)
    previous = BinaryAttribute(null=True, legacy_encoding=False)
    by = BinaryAttribute(legacy_encoding=False)
    token_id = UnicodeAttribute()
    session = NumberAttribute()
    issued = NumberAttribute()
    at = NumberAttribute()
    body = BinaryAttribute(legacy_encoding=False)


class Refusals(Item):
    """The hosts that asked for the name of an online worker in the last hour: JSON, as join_refusals.py writes it."""

    PART = "refusals"

    class Meta(Meta):
        table_name = TABLE_PREFIX + "workers"

    worker_id = UnicodeAttribute(hash_key=True)
    part = UnicodeAttribute(range_key=True, default=PART)
    noted = UnicodeAttribute()


class WorkerName(Item):
    class Meta(Meta):
        table_name = TABLE_PREFIX + "workers"

    key = UnicodeAttribute(hash_key=True, attr_name="worker_id")
    part = UnicodeAttribute(range_key=True, default="name")
    owner = UnicodeAttribute()


class AddressClaims(Item):
    """The workers that claim an address, each until it has another one; publication.py compares them."""

    class Meta(Meta):
        table_name = TABLE_PREFIX + "workers"

    key = UnicodeAttribute(hash_key=True, attr_name="worker_id")
    part = UnicodeAttribute(range_key=True, default="address")
    workers = UnicodeSetAttribute(null=True)


class Brake(Item):
    """Until when the sweep records nothing, because too much of the fleet fell silent at once."""

    class Meta(Meta):
        table_name = TABLE_PREFIX + "workers"

    key = UnicodeAttribute(hash_key=True, attr_name="worker_id", default="sweep")
    part = UnicodeAttribute(range_key=True, default="brake")
    until = NumberAttribute()


class CapacityView(Item):
    """When a sweep last compared the index `free` with every worker, and corrected it; how many workers there were."""

    KEY = "view"

    class Meta(Meta):
        table_name = TABLE_PREFIX + "workers"

    key = UnicodeAttribute(hash_key=True, attr_name="worker_id", default=KEY)
    part = UnicodeAttribute(range_key=True, default="capacity")
    compared_at = NumberAttribute()
    workers = NumberAttribute()


class Deployment(Item):
    """`status` belongs to `status_generation`; `generation` is the latest intent's. `version` guards every write.

    JSON: `serving` is what serves, which may be an older generation (serving.py); `crash_loop` is of crash_loops.py.
    """

    class Meta(Meta):
        table_name = TABLE_PREFIX + "deployments"

    deployment_id = UnicodeAttribute(hash_key=True)
    kind = UnicodeAttribute(default="deployment")
    rank = UnicodeAttribute()
    listing = Listing()
    waiting = UnicodeAttribute(null=True)
    waiting_index = Waiting()
    version = NumberAttribute(default=0)
    name = UnicodeAttribute()
    spec = UnicodeAttribute()
    api_key = UnicodeAttribute()
    generation = NumberAttribute()
    desired = UnicodeAttribute()
    worker_id = UnicodeAttribute(null=True)
    leaving = UnicodeAttribute(null=True)
    gpu_indexes = UnicodeAttribute(default="[]")
    status = UnicodeAttribute()
    status_at = NumberAttribute()
    status_generation = NumberAttribute()
    status_session = NumberAttribute(default=-1)
    status_sequence = NumberAttribute(default=-1)
    message = UnicodeAttribute(null=True)
    error_code = UnicodeAttribute(null=True)
    progress = UnicodeAttribute(null=True)
    container_id = UnicodeAttribute(null=True)
    port = NumberAttribute(null=True)
    serving = UnicodeAttribute(null=True)
    restarts = NumberAttribute(default=0)
    crash_loop = UnicodeAttribute(null=True)
    last_crash = BinaryAttribute(null=True, legacy_encoding=False)
    created_at = NumberAttribute()
    updated_at = NumberAttribute()


class DeploymentName(Item):
    class Meta(Meta):
        table_name = TABLE_PREFIX + "deployments"

    key = UnicodeAttribute(hash_key=True, attr_name="deployment_id")
    owner = UnicodeAttribute()


class Slot(Item):
    """The latest intent for one deployment on one worker."""

    class Meta(Meta):
        table_name = TABLE_PREFIX + "commands"

    worker_id = UnicodeAttribute(hash_key=True)
    slot = UnicodeAttribute(range_key=True)
    intent = UnicodeAttribute()  # "deploy" or "stop"
    generation = NumberAttribute()

    # Sending
    sent_at = NumberAttribute(null=True)  # when the command first went out
    sent_session = NumberAttribute(null=True)  # the session that it was sent to
    sent_inbox = NumberAttribute(null=True)  # an agent that reports an older inbox cannot have the command
    settled_at = NumberAttribute(null=True)  # when the worker showed that it has the intent

    # What may run there
    holds_gpus = BooleanAttribute(attr_name="holds", default=False)  # the deployment may use its GPUs
    may_be_running = BooleanAttribute(attr_name="may_live", default=False)  # a container of it, of any generation
    may_begin = BooleanAttribute(null=True)  # the worker took a deploy that was then lost, and never listed it
    # The stop that a basic client gets before a deploy over what may be running there: "sent" or "heard"
    pre_stop = UnicodeAttribute(attr_name="clearing", null=True)

    # The worker's list of active deployments contradicts what is stored
    mismatch_since = NumberAttribute(attr_name="odd_since", null=True)
    mismatch_listed = BooleanAttribute(attr_name="odd_listed", null=True)  # whether that list had the deployment

    @property
    def deployment_id(self) -> str:
        return str(self.slot)[2:]

    @property
    def command_id(self) -> str:
        return f"{self.deployment_id}-g{int(self.generation)}"


class Queued(Item):
    """Points at an operation that a worker has to be sent, or has not acknowledged."""

    class Meta(Meta):
        table_name = TABLE_PREFIX + "commands"

    worker_id = UnicodeAttribute(hash_key=True)
    slot = UnicodeAttribute(range_key=True)
    ttl = NumberAttribute()

    @property
    def operation_id(self) -> str:
        return str(self.slot)[2:]


class SharedRead(Item):
    """The latest operation of a read with certain parameters, which is shared until it is sent."""

    class Meta(Meta):
        table_name = TABLE_PREFIX + "commands"

    worker_id = UnicodeAttribute(hash_key=True)
    slot = UnicodeAttribute(range_key=True)
    operation_id = UnicodeAttribute()
    ttl = NumberAttribute()


class Operation(Item):
    class Meta(Meta):
        table_name = TABLE_PREFIX + "operations"

    operation_id = UnicodeAttribute(hash_key=True)
    worker_id = UnicodeAttribute()
    type = UnicodeAttribute()
    parameters = UnicodeAttribute()
    status = UnicodeAttribute()
    created_at = NumberAttribute()
    expires_at = NumberAttribute()
    updated_at = NumberAttribute()
    sent_at = NumberAttribute(null=True)
    progress = UnicodeAttribute(null=True)
    output = BinaryAttribute(null=True, legacy_encoding=False)
    error_code = UnicodeAttribute(null=True)
    message = UnicodeAttribute(null=True)
    ttl = NumberAttribute()


class Once(Item):
    """What an Idempotency-Key made: `body` is the digest of the request, `resource` the id of what it returned."""

    class Meta(Meta):
        table_name = TABLE_PREFIX + "operations"

    key = UnicodeAttribute(hash_key=True, attr_name="operation_id")
    body = UnicodeAttribute()
    resource = UnicodeAttribute()
    ttl = NumberAttribute()


class Credential(Item):
    """A registration token or an API key. Its id is derived from the secret, so that no index is needed to find it.

    `revoked`: its revocation has begun, and nobody may register with it any more (tokens.revoke_token).
    """

    class Meta(Meta):
        table_name = TABLE_PREFIX + "credentials"

    credential_id = UnicodeAttribute(hash_key=True)
    kind = UnicodeAttribute()
    rank = UnicodeAttribute()
    listing = Listing()
    digest = BinaryAttribute(legacy_encoding=False)
    name = UnicodeAttribute(null=True)
    role = UnicodeAttribute(null=True)
    expires_at = NumberAttribute(null=True)
    max_uses = NumberAttribute(null=True)
    uses = NumberAttribute(default=0)
    takeover = BooleanAttribute(default=False)
    ephemeral = BooleanAttribute(default=False)
    revoked = BooleanAttribute(null=True)
    limits = UnicodeAttribute(null=True)  # JSON of `tokens.Limits`: a caller's
    created_at = NumberAttribute()


class GatewayRecord(Item):
    """A gateway that registered, with its API key and its URL. `renewed_at`: when it did so last."""

    KIND = "gateway"

    class Meta(Meta):
        table_name = TABLE_PREFIX + "credentials"

    credential_id = UnicodeAttribute(hash_key=True)
    kind = UnicodeAttribute(default=KIND)
    rank = UnicodeAttribute()
    listing = Listing()
    url = UnicodeAttribute()
    key_id = UnicodeAttribute()
    version = UnicodeAttribute(default="")
    selector = UnicodeAttribute(null=True)
    renewed_at = NumberAttribute()


class TicketMaster(Item):
    """The master keys by version, JSON of base64, compared as text when a version is added; `made_at`: the newest."""

    ID = "tickets"

    class Meta(Meta):
        table_name = TABLE_PREFIX + "credentials"

    key = UnicodeAttribute(hash_key=True, attr_name="credential_id")
    keys = UnicodeAttribute()
    made_at = NumberAttribute()


class FirstKey(Item):
    """What two deploys at once write, so that one of them makes the first admin key."""

    ID = "first"

    class Meta(Meta):
        table_name = TABLE_PREFIX + "credentials"

    key = UnicodeAttribute(hash_key=True, attr_name="credential_id")
    owner = UnicodeAttribute()


class Event(Item):
    class Meta(Meta):
        table_name = TABLE_PREFIX + "events"

    subject = UnicodeAttribute(hash_key=True)
    at = UnicodeAttribute(range_key=True)
    type = UnicodeAttribute()
    message = UnicodeAttribute()
    by = UnicodeAttribute()
    deployment_id = UnicodeAttribute(null=True)
    deployment_name = UnicodeAttribute(null=True)
    worker_id = UnicodeAttribute(null=True)
    worker_name = UnicodeAttribute(null=True)
    operation_id = UnicodeAttribute(null=True)
    token_id = UnicodeAttribute(null=True)
    key_id = UnicodeAttribute(null=True)
    error_code = UnicodeAttribute(null=True)
    ttl = NumberAttribute()


class UsageTotal(Item):
    """What one API key used of one model on one day, as one ledger of a gateway adds it up (usage_sums.py)."""

    class Meta(Meta):
        table_name = TABLE_PREFIX + "events"

    subject = UnicodeAttribute(hash_key=True)
    at = UnicodeAttribute(range_key=True)
    key_id = UnicodeAttribute()
    model = UnicodeAttribute()
    requests = NumberAttribute()
    prompt_tokens = NumberAttribute()
    completion_tokens = NumberAttribute()
    ttl = NumberAttribute()


class Count(Item):
    """How many operations of a type ended in a status, since the beginning: count#<type>#<status>."""

    class Meta(Meta):
        table_name = TABLE_PREFIX + "operations"

    key = UnicodeAttribute(hash_key=True, attr_name="operation_id")
    ended = NumberAttribute(default=0)


class Waits(Item):
    """The requests that wait for a worker at this moment (wait_limit.py)."""

    class Meta(Meta):
        table_name = TABLE_PREFIX + "operations"

    KEY = "waits"
    key = UnicodeAttribute(hash_key=True, attr_name="operation_id", default=KEY)
    permits = UnicodeSetAttribute(attr_name="words", null=True)


MODELS: tuple[type[Model], ...] = (WorkerRecord, WorkerHeartbeat, Deployment, Slot, Operation, Credential, Event)
"""One model for each table, with its indexes."""


TTL = "ttl"
"""When an item expires, in epoch seconds: the attribute of every kind of item that does."""


def expires(model: type[Model]) -> bool:
    """Whether some kind of item in the model's table has a `ttl`."""
    kinds = (kind for kind in Item.__subclasses__() if kind.Meta.table_name == model.Meta.table_name)
    return any(TTL in kind.get_attributes() for kind in kinds)


def create_tables() -> None:
    """Create what is missing, and let items expire; what exists stays as it is."""
    for model in MODELS:
        model.create_table(wait=True)
        if expires(model):
            _let_items_expire(model.Meta.table_name)


def _let_items_expire(table_name: str) -> None:
    try:
        connection().update_time_to_live(table_name, TTL)
    except TableError as error:
        if error.cause_response_message is None or "already enabled" not in error.cause_response_message:
            raise


def connection() -> Connection:
    connection: Connection = WorkerRecord._get_connection().connection
    return connection
