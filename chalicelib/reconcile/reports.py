"""What a worker says about a deployment: whether it is news, whether the lifecycle allows it, and what follows.

Reports are ordered by (generation, session, sequence); one that is not newer than what is stored changes nothing. A
client that sends none of these is judged by the lifecycle alone, and means the generation that it was last sent.
"""

from __future__ import annotations

import re
import zlib
from datetime import datetime

import msgspec
from pynamodb.expressions.update import Action

from chalicelib.deployments import crash_loops, serving
from chalicelib.fleet import bounds
from chalicelib.scheduling import gpu_claims, scheduler
from chalicelib.store import events, slots
from chalicelib.store.items import TransactionConflict, find, grow, retrying, update_if
from chalicelib.store.tables import Deployment, Slot
from chalicelib.store.times import when
from muster.api import messages as m
from muster.api import resources as r
from muster.api.errors import ApiError
from muster.api.lifecycle import COMING_UP, CONTACT_LOST, ENDING, Status, may_move

MAX_LOGS_BYTES = 64 * 1024
MAX_CONTAINER_ID = 256
MAX_FIX_GPUS = 64
FIXABLE = {
    "disable_custom_all_reduce": bool,
    "dtype": str,
    "enable_lora": bool,
    "enforce_eager": bool,
    "gpu_memory_utilization": float,
    "max_cpu_loras": int,
    "max_lora_rank": int,
    "max_loras": int,
    "max_model_len": int,
    "max_num_batched_tokens": int,
    "max_num_seqs": int,
    "tensor_parallel_size": int,
}
FIXABLE_ENV = frozenset(
    {
        "GLOO_SOCKET_IFNAME",
        "HF_HUB_DISABLE_XET",
        "HF_HUB_ENABLE_HF_TRANSFER",
        "MAX_JOBS",
        "NCCL_CUMEM_ENABLE",
        "NCCL_CUMEM_HOST_ENABLE",
        "NCCL_IB_DISABLE",
        "NCCL_NVLS_ENABLE",
        "NCCL_P2P_DISABLE",
        "NCCL_SOCKET_IFNAME",
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "VLLM_ALLREDUCE_USE_SYMM_MEM",
        "VLLM_DISABLE_COMPILE_CACHE",
        "VLLM_HOST_IP",
        "VLLM_USE_DEEP_GEMM",
        "VLLM_USE_FLASHINFER_SAMPLER",
        "VLLM_WORKER_MULTIPROC_METHOD",
    }
)
MAX_FIX_CHARACTERS = 40
"""Of a text in a fix."""
OVER = frozenset({Status.STOPPED, Status.ERROR})


def report(worker_id: str, deployment_id: str, body: m.Report, by: str, now: float) -> m.Applied:
    """Raises DEPLOYMENT_NOT_FOUND for one that was never this worker's, ILLEGAL_TRANSITION naming both states,
    INVALID_REQUEST for a generation or session from the future."""
    applied: m.Applied = retrying(lambda: _attempt(worker_id, deployment_id, body, by, now))
    return applied


def ignored(worker_id: str, deployment_id: str, body: m.Report) -> m.Applied:
    """The response to a client that was kept aside (provisional.py). Raises DEPLOYMENT_NOT_FOUND."""
    _slot(worker_id, deployment_id)
    return m.Applied(False, body.reported)


def _slot(worker_id: str, deployment_id: str) -> Slot:
    slot = slots.get(worker_id, deployment_id)
    if slot is None:
        raise ApiError("DEPLOYMENT_NOT_FOUND", "this worker has no such deployment")
    return slot


def _attempt(worker_id: str, deployment_id: str, body: m.Report, by: str, now: float) -> m.Applied:
    slot = _slot(worker_id, deployment_id)
    deployment = find(Deployment, deployment_id)
    _admit_numbers(slot, deployment, body, now)
    if deployment is None or deployment.worker_id != worker_id:
        return _report_of_the_past(slot, deployment, body, now)
    if _speaks_of_the_past(slot, deployment, body):
        return _report_of_the_past(slot, deployment, body, now)
    generation = _generation(slot, deployment, body)
    if _is_late(deployment, body, generation):
        if generation < deployment.status_generation:
            _note_what_serves(worker_id, deployment, body, now)
        else:
            _follow_again(slot, deployment, now)
        return m.Applied(False, deployment.status)
    new = body.reported
    _settle(slot, body, generation, now)
    if deployment.status == new and generation == deployment.status_generation:
        if not _undoes_a_conclusion(deployment, new):
            if body.error_code and not _known_crash(deployment, body):
                _tell(deployment, body, by, now)
            ended = crash_loops.has_ended(deployment, body)
            applied = _note(deployment, body, generation, now)
            if ended:
                events.record(events.on(deployment), new, "the crash loop is over: it runs on", by, now)
            _follow_again(slot, deployment, now)
            return m.Applied(applied, deployment.status)
    else:
        _check_move(deployment, new, generation)
    _store(deployment, body, new, generation, now)
    if new in OVER and generation >= deployment.status_generation:
        over(slot, now)
    elif new is Status.RUNNING:
        scheduler.confirm(slot, deployment, now)
    _tell(deployment, body, by, now)
    return m.Applied(True, new)


def _follow_again(slot: Slot, deployment: Deployment, now: float) -> None:
    """What follows from the status that is stored: the function that stored it may have ended before that.

    It did where a report is repeated whose response was lost, or whose write DynamoDB carried out and refused when it
    was sent again.
    """
    if deployment.status_generation < slot.generation:
        return
    if deployment.status in OVER and deployment.error_code not in CONTACT_LOST:
        if slot.holds_gpus or slot.may_be_running:
            over(slot, now)
    elif deployment.status == Status.RUNNING:
        scheduler.confirm(slot, deployment, now)


def _admit_numbers(slot: Slot, deployment: Deployment | None, body: m.Report, now: float) -> None:
    """Raises INVALID_REQUEST."""
    known = [slot.generation, *([deployment.generation, deployment.status_generation] if deployment else [])]
    bounds.check("generation", body.generation, max(known), now)
    bounds.adopt_session(slot.worker_id, body.session, now)


def _report_of_the_past(slot: Slot, deployment: Deployment | None, body: m.Report, now: float) -> m.Applied:
    """Of one deleted, moved, or meant in an older generation: what matters is whether its container is gone."""
    if slot.intent == "stop" and body.reported in ENDING:
        slots.settle(slot, body.session, now)
    if slot.pre_stop and body.reported in ENDING:
        update_if(slot, [Slot.pre_stop.set("heard")], slots.unchanged(slot))
    if slot.intent == "deploy" and slot.sent_at is None and body.reported not in ENDING:
        update_if(slot, [Slot.may_be_running.set(True)], slots.unchanged(slot))
    generation = body.generation or 0
    if deployment is not None and _outgrew_its_stop(slot, deployment, generation) and body.reported not in OVER:
        grown = [Slot.generation.set(generation + 1), Slot.settled_at.remove(), Slot.sent_at.remove()]
        update_if(slot, grown, slots.unchanged(slot))
        slots.wake(slot.worker_id, now)
    if deployment is not None:
        _note_what_serves(slot.worker_id, deployment, body, now)
    may_be_coming_up = slot.intent == "deploy" and slot.sent_at is not None
    if body.reported in OVER and not may_be_coming_up:
        over(slot, now)
        slots.wake(slot.worker_id, now)
    return m.Applied(False, deployment.status if deployment else Status.STOPPED)


def _note_what_serves(worker_id: str, deployment: Deployment, body: m.Report, now: float) -> None:
    """A report of the past may be the end of the instance that still serves."""
    serves = serving.of(deployment)
    if serves is None or serves.worker_id != worker_id:
        return
    generation = serves.generation if body.generation is None else body.generation
    actions = serving.reported(deployment, worker_id, body, generation, now)
    if actions:
        _write(deployment, actions, now)


def _outgrew_its_stop(slot: Slot, deployment: Deployment, generation: int) -> bool:
    """Whether what is here is newer than the stop that was left here, and yet older than what is wanted by now.

    So it may be after an older database was restored: until an operator says something new, nothing that runs is ended.
    """
    return bool(slot.intent == "stop" and slot.generation < generation < deployment.generation - 1)


def _speaks_of_the_past(slot: Slot, deployment: Deployment, body: m.Report) -> bool:
    """Whether a client without generations means a container that a deploy, unsent or not begun, is to replace."""
    if body.generation is not None or slot.intent != "deploy":
        return False
    first = deployment.generation == grow(0, deployment.created_at)
    if slot.sent_at is None:
        return slot.may_be_running or not first
    # It was told to stop before this deploy, which it has not answered yet: this is how that stop went.
    return slot.settled_at is None and body.reported in (Status.STOPPING, Status.STOPPED) and not first


def _generation(slot: Slot, deployment: Deployment, body: m.Report) -> int:
    if body.generation is not None:
        return body.generation
    return int(slot.generation if slot.sent_at is not None else deployment.status_generation)


def _is_late(deployment: Deployment, body: m.Report, generation: int) -> bool:
    if generation != deployment.status_generation:
        return generation < deployment.status_generation
    if body.session is None or body.sequence is None:
        return False
    stored = (deployment.status_session, deployment.status_sequence)
    return (body.session, body.sequence) <= stored


def _undoes_a_conclusion(deployment: Deployment, new: Status) -> bool:
    """Whether the control plane only concluded this error, from silence: then the worker's report takes its place."""
    return new is Status.ERROR and deployment.error_code in CONTACT_LOST


def _known_crash(deployment: Deployment, body: m.Report) -> r.Crash | None:
    """The stored crash, if the report is about the same one: it comes twice if something in between refused its log."""
    if deployment.last_crash is None:
        return None
    crash = msgspec.json.decode(zlib.decompress(bytes(deployment.last_crash)), type=r.Crash)
    same = deployment.error_code if body.reported is Status.ERROR else crash.error_code
    same_start = body.reported is Status.ERROR or body.restarts == deployment.restarts
    return crash if same_start and body.error_code == same == crash.error_code else None


def _check_move(deployment: Deployment, new: Status, generation: int) -> None:
    """A newer generation that finds the status at its end, or on its way there, starts from pending."""
    current = Status(deployment.status)
    if generation > deployment.status_generation and current in ENDING:
        current = Status.PENDING
        if new is current:
            return
    elif generation > deployment.status_generation and new is current:
        return
    if not may_move(current, new, deployment.error_code):
        code = f" ({deployment.error_code})" if deployment.error_code else ""
        raise ApiError(
            "ILLEGAL_TRANSITION", f"status: {current}{code} → {new} is not a move that a deployment can make"
        )


def _settle(slot: Slot, body: m.Report, generation: int, now: float) -> None:
    """A report of the slot's generation is a receipt; without generations, one that answers the intent is."""
    if slot.settled_at is not None or generation != slot.generation:
        return
    answers = COMING_UP - {Status.PENDING} | {Status.RUNNING, Status.ERROR} if slot.intent == "deploy" else ENDING
    if body.generation is not None or body.reported in answers:
        slots.settle(slot, body.session, now)


def _details(body: m.Report) -> list[Action]:
    """What a report tells besides the status: what it does not mention stays."""
    actions: list[Action] = []
    if body.container_id is not None:
        actions.append(Deployment.container_id.set(m.brief(body.container_id, MAX_CONTAINER_ID)))
    if body.port is not None:
        actions.append(Deployment.port.set(body.port))
    if body.restarts is not None:
        actions.append(Deployment.restarts.set(body.restarts))
    if body.session is not None and body.sequence is not None:
        actions += [Deployment.status_session.set(body.session), Deployment.status_sequence.set(body.sequence)]
    if body.progress is not None:
        actions.append(Deployment.progress.set(msgspec.json.encode(body.progress).decode()))
    return actions


def _write(deployment: Deployment, actions: list[Action], now: float) -> None:
    actions += [Deployment.updated_at.set(now), Deployment.version.add(1)]
    if not update_if(deployment, actions, Deployment.version == deployment.version):
        raise TransactionConflict


def _note(deployment: Deployment, body: m.Report, generation: int, now: float) -> bool:
    """The same status again: progress, and the crash of one that starts anew, are kept; whether there was any."""
    moved = serving.reported(deployment, str(deployment.worker_id), body, generation, now)
    looped = crash_loops.reported(deployment, body, now)
    details = [*_details(body), *moved, *looped]
    is_news = body.progress is not None or bool(body.error_code) or bool(looped)
    if body.message is not None and (is_news or (moved and body.address is not None)):
        details.append(Deployment.message.set(m.brief(body.message)))
    if body.error_code:
        known = _known_crash(deployment, body)
        details.append(Deployment.last_crash.set(_crash(body, known.at if known else when(now))))
    if details:
        _write(deployment, details, now)
    return is_news


def _store(deployment: Deployment, body: m.Report, new: Status, generation: int, now: float) -> None:
    actions: list[Action] = [
        Deployment.status.set(new),
        Deployment.status_at.set(now),
        Deployment.status_generation.set(generation),
        Deployment.message.set(m.brief(body.message)) if body.message else Deployment.message.remove(),
        Deployment.error_code.set(m.brief(body.error_code, m.MAX_CODE))
        if body.error_code
        else Deployment.error_code.remove(),
        *_details(body),
        *crash_loops.reported(deployment, body, now),
        *serving.reported(deployment, str(deployment.worker_id), body, generation, now),
    ]
    if generation > deployment.generation:  # an older database was restored: what runs is ahead of it
        actions.append(Deployment.generation.set(generation))
    if generation > deployment.status_generation and body.sequence is None:
        actions += [Deployment.status_session.set(-1), Deployment.status_sequence.set(-1)]
    if body.progress is None:
        actions.append(Deployment.progress.remove())
    if body.error_code or new is Status.ERROR:
        actions.append(Deployment.last_crash.set(_crash(body, when(now))))
    _write(deployment, actions, now)


def _crash(body: m.Report, at: datetime) -> bytes:
    tail = (body.logs or "").encode("utf-8", "replace")[-MAX_LOGS_BYTES:].decode("utf-8", "ignore")
    code = m.brief(body.error_code or "CONTAINER_FAILED", m.MAX_CODE)
    crash = r.Crash(at, code, m.brief(body.message or ""), tail, _harmless(body.fix))
    return zlib.compress(msgspec.json.encode(crash))


def _harmless(fix: m.Fix | None) -> m.Fix | None:
    """What a worker proposes an operator applies with one click: only what fits a model to its host may be in it."""
    if fix is None:
        return None
    config = {name: fix.config[name] for name, kind in FIXABLE.items() if type(fix.config.get(name)) is kind}
    config = {name: value for name, value in config.items() if not isinstance(value, str) or _is_word(value)}
    env = {name: fix.env[name] for name in sorted(FIXABLE_ENV & set(fix.env)) if _is_word(fix.env[name])}
    gpus = fix.gpus if fix.gpus and fix.gpus <= MAX_FIX_GPUS else None
    return m.Fix(config, gpus, env) if config or gpus or env else None


def _is_word(text: str) -> bool:
    return re.fullmatch(rf"[A-Za-z0-9._:-]{{1,{MAX_FIX_CHARACTERS}}}", text) is not None


def over(slot: Slot, now: float, *, may_begin: bool = False) -> None:
    """Its container is gone: its devices may go to another, or to a newer generation of its own elsewhere.

    `may_begin` is that of slots.ended.
    """
    if slots.ended(slot, may_begin=may_begin) and not slots.coming(slot):
        gpu_claims.release(slot.worker_id, slot.deployment_id)
    scheduler.place_waiting(now, on=slot.worker_id)


def presumed_stopped(deployment: Deployment, now: float) -> None:
    """It should stop, and its worker no longer lists it."""
    _conclude(deployment, Status.STOPPED, "its worker no longer lists it", now)


def not_listed(deployment: Deployment, worker_id: str, now: float) -> None:
    """An older instance was to serve until the next one starts, and its worker no longer lists it."""
    actions = serving.ended(deployment, worker_id)
    if actions:
        update_if(deployment, [*actions, Deployment.version.add(1)], Deployment.version == deployment.version)


def found_running(slot: Slot, deployment: Deployment, now: float) -> None:
    """It was thought lost, and a client that reports nothing twice lists it again."""
    if _conclude(deployment, Status.RUNNING, "its worker lists it again", now):
        scheduler.confirm(slot, deployment, now)


def _conclude(deployment: Deployment, status: Status, message: str, now: float) -> bool:
    runs = serving.found(deployment, now) if status is Status.RUNNING else None
    actions = [
        *(runs if runs is not None else serving.ended(deployment, str(deployment.worker_id))),
        Deployment.status.set(status),
        Deployment.status_at.set(now),
        Deployment.message.set(message),
        Deployment.error_code.remove(),
        Deployment.updated_at.set(now),
        Deployment.version.add(1),
    ]
    done = update_if(deployment, actions, Deployment.version == deployment.version)
    if done:
        events.record(events.on(deployment), status, message, events.CONTROL_PLANE, now)
    return done


def _tell(deployment: Deployment, body: m.Report, by: str, now: float) -> None:
    code = m.brief(body.error_code, m.MAX_CODE) if body.error_code else None
    why = body.message or "reported by its worker"
    about = events.on(deployment, error_code=code)
    cause = crash_loops.named(body.crash_loop) if code and body.crash_loop is not None else code
    events.record(about, body.reported, f"{cause}: {why}" if cause else why, by, now)
