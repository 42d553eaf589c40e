"""Each protection taken away, in a copy of the code, must be caught: otherwise the simulator proves nothing of it.

`python -m tests.simulation.mutants [NAME…]` makes a copy for each, changes the text, and simulates until a violation.
The product has no switches for this. A text that is not there exactly once means that the protection has moved: then
its mutant has to follow it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import track

from tests.fixtures import ROOT

SEEDS = 1000
"""In which each is caught at the latest."""
CONTROL = 100
"""Of the code as it is, for each plot and storm; `make simulate` has thousands."""
MUTANT_PATIENCE_SECONDS = 60
"""How long a mutant's test waits for what may never come; it fails then, which is what it is for."""
COPIED = ("agent", "chalicelib", "docs", "infra", "muster", "tests", "pyproject.toml")


@dataclass(frozen=True)
class Patch:
    path: str
    text: str
    instead: str

    def apply(self, root: Path) -> None:
        """Raises ValueError."""
        file = root / self.path
        before = file.read_text()
        if before.count(self.text) != 1:
            raise ValueError(f"{self.path} has {before.count(self.text)} times, not once: {self.text}")
        file.write_text(before.replace(self.text, self.instead))


@dataclass(frozen=True)
class Mutant:
    """It is sought in seeds with `plot` and `storm` where those are given. Where chance hardly ever gets there, a
    `test` goes there straight, and has to fail."""

    name: str
    protection: str
    patches: tuple[Patch, ...]
    plot: str | None = None
    storm: str | None = None
    test: str | None = None


def mutant(name: str, protection: str, *patches: tuple[str, str, str], **sought: Any) -> Mutant:
    return Mutant(name, protection, tuple(Patch(*each) for each in patches), **sought)


MUTANTS = (
    # The agent
    mutant(
        "names are chance, and labels are not read",
        "the container's name is the idempotency key, and labels are the truth",
        ("agent/muster_agent/engines/labels.py", 'return f"muster-{deployment_id}-g{generation}"', 'return f"muster-{deployment_id}-g{generation}-{__import__(\'os\').urandom(4).hex()}"'),
        ("agent/muster_agent/runner/plan.py", "return min(running, key=lambda instance: (instance.created, instance.id), default=None)", "return None"),
        ("agent/muster_agent/runner/plan.py", 'steps += [Terminate(instance.id) for instance in ends if instance.state == "running"]', "pass"),
        ("agent/muster_agent/runner/plan.py", "steps += [Remove(instance.id) for instance in ends]", 'steps += [Remove(instance.id) for instance in ends if instance.state != "running"]'),
    ),
    mutant(
        "ack without the journal",
        "fsync the journal, then ack, then act",
        ("agent/muster_agent/commands.py", "receipt = self._journal.deployments_table.accept(command)", "receipt = Receipt.NEW"),
    ),
    mutant(
        "an interrupted operation runs again",
        "an operation that had begun is INTERRUPTED after a crash",
        ("agent/muster_agent/operations/executor.py", "            if accepted.begun:\n", "            if False:\n"),
    ),
    mutant(
        "an operation that is known runs again",
        "the agent answers a repeat from its journal",
        ("agent/muster_agent/commands.py", "        if known is not None:\n", "        if False:\n"),
    ),
    mutant(
        "late operations run",
        "the agent refuses an operation that reaches it later than expires_in",
        ("agent/muster_agent/commands.py", "elif self._boottime() > deadline:", "elif False:"),
    ),
    mutant(
        "start before the old one has ended",
        "whatever is not the wanted instance is gone before the wanted one starts",
        ("agent/muster_agent/runner/plan.py", "    if starts:\n        steps.append(Start(intent.generation))\n    return tuple(steps)", "    if starts:\n        steps.insert(0, Start(intent.generation))\n    return tuple(steps)"),
    ),
    mutant(
        "other workers' containers are one's own",
        "labels carry the worker id: two agents never touch each other's containers",
        ("agent/muster_agent/runner/plan.py", "if instance.deployment_id == deployment_id and instance.worker_id == worker_id", "if instance.deployment_id == deployment_id"),
        test="tests/agent/runner/test_plan.py::test_an_instance_is_a_deployments_own_only_with_the_labels_of_both_deployment_and_worker",
    ),
    mutant(
        "parking is forgotten at a restart",
        "a parked agent stays quiet across restarts",
        ("agent/muster_agent/state/dir.py", 'private_file(self._marker).write_text(reason + "\\n")', "pass"),
    ),
    mutant(
        "an agent does not know how far it has heard",
        "a cloned or put back agent is sent again what its journal lacks",
        ("chalicelib/reconcile/reconciler.py", "(run.journal_lost or run.missed(slot))", "run.journal_lost"),
    ),
    mutant(
        "what is sent for the first time does not raise the inbox",
        "whoever has not been sent an intent has heard less far than who has",
        ("chalicelib/reconcile/reconcile_run.py", "            self.inbox = slots.bump_inbox(self.worker_id, self.now)\n", "            pass\n"),
        test="tests/chalicelib/test_found_by_simulation.py::test_a_clone_is_sent_what_its_journal_lacks_although_no_bell_rang_for_it",
    ),
    # The database on its worse days
    mutant(
        "a write that meets a transaction is a fault of ours",
        "a conflict with a transaction is UNAVAILABLE, and the caller tries again",
        ("chalicelib/routes/http.py", '    "TransactionConflictException",\n', ""),
        storm="write met a transaction",
    ),
    mutant(
        "a batch that was done in part is a fault of ours",
        "what DynamoDB leaves unprocessed is UNAVAILABLE, and the caller tries again",
        ("chalicelib/routes/http.py", "isinstance(error, PutError) and error.cause is None", "False"),
        test="tests/chalicelib/routes/test_http.py::test_a_database_that_is_busy_or_away_is_unavailable",
    ),
    mutant(
        "a page is taken for all there is",
        "a query goes on until it has no last key",
        ("chalicelib/store/slots.py", '        if not rows.get("LastEvaluatedKey"):\n', "        if True:\n"),
        test="tests/chalicelib/store/test_slots.py::test_a_worker_with_more_than_a_page_of_slots_has_all_of_them",
    ),
    mutant(
        "an item is read as it may have been",
        "decisions are made of consistent reads",
        ("chalicelib/store/items.py", "return model.get(hash_key, range_key, consistent_read=True)", "return model.get(hash_key, range_key)"),
        test="tests/chalicelib/store/test_items.py::test_what_was_written_is_read_at_once",
    ),
    mutant(
        "items of a batch are read as they may have been",
        "decisions about several items are made of consistent reads",
        ("chalicelib/store/items.py", "model.batch_get(possible, consistent_read=True, attributes", "model.batch_get(possible, attributes"),
        test="tests/chalicelib/store/test_items.py::test_of_many_those_that_exist_are_found",
    ),
    mutant(
        "a canceled transaction is a fault of ours",
        "whatever cancels a transaction lets its function read again and decide anew",
        ("chalicelib/store/items.py", '{"TransactionCanceledException", "TransactionConflictException"}', '{"TransactionConflictException"}'),
        storm="transaction in conflict",
    ),
    # Engines and disks that fail for a while
    mutant(
        "a deployment crashes when its engine fails",
        "an engine that cannot list what runs has failed, and no deployment",
        ("agent/muster_agent/runner/reconciler.py", "        self._check_engine(error)\n", ""),
        storm="engine outage",
    ),
    mutant(
        "a look that fails has seen nothing",
        "what was seen last stays until the engine answers again",
        ("agent/muster_agent/runner/instances.py", "                self.seen = tuple(self._engine.instances())\n", "                self.seen = ()\n                self.seen = tuple(self._engine.instances())\n"),
        storm="engine outage",
    ),
    mutant(
        "what was started since the last look does not run",
        "what may have been started counts as running until somebody could look",
        ("agent/muster_agent/runner/manager.py", "        return live | self._context.instance_cache.unlisted\n", "        return live\n"),
        test="tests/agent/runner/test_manager.py::test_what_was_started_before_the_engine_failed_is_active_also_once_it_is_to_stop",
    ),
    mutant(
        "a step that the engine refuses counts as an attempt",
        "only the agent's own death in the middle of a step counts",
        ("agent/muster_agent/runner/plan_executor.py", "        finally:\n            # Reached on every error", "        except ZeroDivisionError:\n            raise\n        else:\n            # Reached on every error"),
        test="tests/agent/runner/test_plan_executor.py::test_an_engine_that_refuses_a_step_again_and_again_poisons_no_command",
    ),
    mutant(
        "time in which nobody could look counts as a standstill",
        "a start stalls only while somebody looks, and nothing grows",
        ("agent/muster_agent/runner/startup.py", "LONGEST_OBSERVATION_GAP_SECONDS = 120.0", 'LONGEST_OBSERVATION_GAP_SECONDS = float("inf")'),
        test="tests/agent/runner/test_startup.py::test_time_in_which_nobody_could_look_is_no_standstill",
    ),
    mutant(
        "a stop that cannot be journaled has failed",
        "what it is to end runs on, and is stopped when there is room",
        ("agent/muster_agent/commands.py", 'Report(status="stopping", generation=command.generation, message=message)', 'Report(status="error", generation=command.generation, message=message, error_code=error.error_code)'),
        test="tests/agent/test_commands.py::test_a_stop_that_cannot_be_journaled_has_not_failed",
    ),
    mutant(
        "a change that cannot be journaled has failed",
        "a deployment that runs, or comes up, keeps its GPUs until its change can be journaled",
        ("agent/muster_agent/commands.py", "waits = isinstance(command, Deploy) and runtime.manager.has_something_of(command.deployment_id)", "waits = False"),
        test="tests/agent/test_commands.py::test_a_change_that_cannot_be_journaled_has_not_failed_and_what_runs_goes_on",
    ),
    mutant(
        "a deploy that has failed runs when there is room",
        "a deploy that was reported as failed is not run: an operator may have started it elsewhere",
        ("agent/muster_agent/commands.py", "if isinstance(command, Deploy) and self._has_failed(command):", "if False:"),
        storm="disk outage",
    ),
    mutant(
        "a registration that could not be journaled is forgotten",
        "the agent journals its registration as soon as there is room",
        ("agent/muster_agent/heartbeat.py", "            if self._unjournaled is identity:\n                self._store_identity(identity)\n            return", "            return"),
        test="tests/agent/test_heartbeat.py::test_a_registration_that_could_not_be_journaled_is_journaled_as_soon_as_that_is_possible",
    ),
    mutant(
        "a journal that fails quick_check is used",
        "a damaged journal is kept under another name, and a new one is begun",
        ("agent/muster_agent/state/db_file.py", '    if found != "ok":\n', "    if False:\n"),
        test="tests/agent/state/test_db_file.py::test_a_failed_quick_check_is_damage_also_where_all_that_is_read_can_be_read",
    ),
    mutant(
        "an engine that fails is not reported",
        "a worker reports the condition while its engine fails",
        ("agent/muster_agent/runner/poller.py", "        self._trouble(self._message)\n", "        pass\n"),
        test="tests/agent/runner/test_poller.py::test_an_engine_that_is_down_is_a_condition_that_names_what_it_holds_up_until_it_was_up_for_a_minute",
    ),
    mutant(
        "a condition lasts for ten minutes after its trouble",
        "a condition ends a minute after its trouble",
        ("agent/muster_agent/conditions.py", "CLEARED_AFTER_SECONDS = 60.0", "CLEARED_AFTER_SECONDS = 600.0"),
        storm="engine outage",
    ),
    # Time
    mutant(
        "restarts wait by the wall clock",
        "a crashed model is started again after its backoff, whatever the wall clock does",
        ("agent/muster_agent/runner/failures.py", "        backoff = self._restarts.again(now, code)\n", "        backoff = self._restarts.again(self._host.clocks.wall(), code)\n"),
        ("agent/muster_agent/runner/reconciler.py", "may_start = self._restarts.wait(now) == 0", "may_start = self._restarts.wait(self._context.host.clocks.wall()) == 0"),
        storm="clock stepped",
    ),
    mutant(
        "a restarted agent forgets the failures in a row",
        "the count, the cause and the wait of a crash loop outlive the agent",
        ("agent/muster_agent/runner/reconciler.py", "Restarts(record.crashes, context.host.clocks.boot_id())", "Restarts(None, context.host.clocks.boot_id())"),
        test="tests/agent/runner/test_restarts.py::test_a_restarted_agent_keeps_the_count_the_cause_and_the_wait",
    ),
    mutant(
        "a wait goes on after a reboot",
        "no clock measures a wait over a reboot, so the start after it comes at once",
        ("agent/muster_agent/runner/restarts.py", "if self.crashes is None or self.crashes.boot_id != self._boot_id:", "if self.crashes is None:"),
        test="tests/agent/runner/test_restarts.py::test_a_reboot_keeps_the_count_and_starts_at_once",
    ),
    mutant(
        "a failure that is reported again moves its next start",
        "repeated and late reports of one failure do not move its next start",
        ("chalicelib/deployments/crash_loops.py", "min(after.next_start, before.next_start or after.next_start)", "after.next_start"),
        test="tests/chalicelib/deployments/test_crash_loops.py::test_repeats_of_a_report_move_no_start",
    ),
    mutant(
        "a start stalls by the wall clock",
        "a start has stalled when nothing grew for ten minutes of the monotonic clock",
        ("agent/muster_agent/runner/instance_monitor.py", "watchdog = self._watchdog = self._watchdog or StartupWatchdog(now, self._weights)", "now = self._host.clocks.wall()\n        watchdog = self._watchdog = self._watchdog or StartupWatchdog(now, self._weights)"),
        ("agent/muster_agent/runner/startup.py", "LONGEST_OBSERVATION_GAP_SECONDS = 120.0", 'LONGEST_OBSERVATION_GAP_SECONDS = float("inf")'),
        storm="clock stepped",
    ),
    mutant(
        "a model hangs by the wall clock",
        "a model hangs when it answered no probe for 30 seconds of the monotonic clock",
        ("agent/muster_agent/runner/instance_monitor.py", "self._pulse.has_stopped(now, ", "self._pulse.has_stopped(self._host.clocks.wall(), "),
        ("agent/muster_agent/runner/probes.py", "        if now - self._asked_at > HUNG_AFTER_SECONDS:\n", "        if False:\n"),
        storm="clock stepped",
    ),
    mutant(
        "the lease ends by the wall clock",
        "within one boot a lease is measured by CLOCK_BOOTTIME",
        ("agent/muster_agent/host/clocks.py", "return max(0.0, self.boottime - earlier.boottime) if", "return max(0.0, self.wall - earlier.wall) if"),
        test="tests/agent/control/test_lease.py::test_a_step_of_the_wall_clock_neither_ends_nor_renews_the_lease",
    ),
    mutant(
        "an operation's deadline is by the wall clock",
        "deadlines of operations are measured by CLOCK_BOOTTIME",
        ("agent/muster_agent/operations/executor.py", "self._boottime = context.host.clocks.boottime", "self._boottime = context.host.clocks.wall"),
        test="tests/agent/operations/test_executor.py::test_a_step_of_the_wall_clock_moves_no_deadline",
    ),
    mutant(
        "what had not begun runs after a reboot",
        "after a reboot no clock tells whether a deadline has passed, so nothing destructive runs",
        ("agent/muster_agent/operations/executor.py", "rebooted = self._operations_table.boot_id != self._boot_id", "rebooted = False"),
        test="tests/agent/operations/test_executor.py::test_what_had_not_begun_before_a_reboot_does_not_run_after_it",
    ),
    mutant(
        "a step of the server's clock is silence",
        "after a step of its clock the local server concludes nothing from silence for a while",
        ("infra/local/schedule.py", "            self._hold_until = monotonic + SETTLE_SECONDS\n", "            pass\n"),
        test="tests/infra/local/test_schedule.py::test_no_worker_and_no_model_is_lost_by_a_step_of_the_servers_clock",
    ),
    # The embedded database
    mutant(
        "a commit of the embedded database is not synced",
        "what was answered survives a power cut",
        ("infra/local/store.py", "PRAGMA synchronous = FULL", "PRAGMA synchronous = NORMAL"),
        test="tests/infra/local/dynamodb/test_power_cuts.py",
    ),
    mutant(
        "the embedded database answers before it is on the disk",
        "nothing is answered that a crash takes back",
        ("infra/local/dynamodb/client.py", "                commits.wait(sequence)\n", "                pass\n"),
        test="tests/infra/local/dynamodb/test_client.py::test_a_write_a_read_of_it_and_a_failed_condition_on_it_wait_for_the_disk",
    ),
    mutant(
        "what the disk refused stays in memory",
        "a group that could not be written is undone, and what followed it",
        ("infra/local/dynamodb/group_commit.py", "            self._undo(reversed(group))\n", ""),
        test="tests/infra/local/dynamodb/test_engine.py::test_what_the_disk_refused_is_not_in_memory_either",
    ),
    mutant(
        "a function goes on from what was undone",
        "what follows from a write that failed is refused too",
        ("infra/local/dynamodb/client.py", "if seen is not None and (failed := commits.failure(seen.sequence)) is not None:", "if seen is not None and (failed := None) is not None:"),
        test="tests/infra/local/dynamodb/test_client.py::test_who_has_seen_what_was_undone_gets_an_error_at_each_call_and_in_the_end",
    ),
    # The server of one machine
    mutant(
        "an answer leaves though its write failed",
        "what is not on the disk is answered with UNAVAILABLE",
        ("infra/local/asgi.py", "_unwritten(error) or raised)", "raised)"),
        test="tests/infra/local/test_asgi.py::test_what_could_not_be_written_is_not_answered_as_if_it_were",
    ),
    mutant(
        "a refusal leaves before what it saw is on the disk",
        "every answer waits for what it saw, also one that is given before the body is there",
        ("infra/local/asgi.py", "self._deliver(future, result, seen.sequence, raised)", "self._deliver(future, result, seen.sequence, raised) if raised is None else self._delivered().deliver(future, None, raised)"),
        test="tests/infra/local/test_asgi.py::test_a_refusal_waits_until_what_it_saw_is_on_disk",
    ),
    mutant(
        "nothing expires on a database of one's own",
        "tables are told which items expire, as the template in AWS tells them",
        ("chalicelib/store/tables.py", "        if expires(model):", "        if False:"),
        test="tests/chalicelib/store/test_tables.py::test_what_has_a_time_to_live_is_gone_after_it",
    ),
    mutant(
        "bodies that have not arrived take any amount of memory",
        "all bodies together have a limit, and the largest is given up",
        ("muster/serving/connections.py", "        if self._bodies > self._body_bytes:", "        if False:"),
        test="tests/muster/serving/test_connections.py::test_the_largest_body_is_given_up_where_all_are_too_large_together",
    ),
    mutant(
        "connections that ask for nothing keep everybody out",
        "one that asks for nothing makes room for a newcomer",
        ("muster/serving/connections.py", "        if len(self._open) >= self._most:", "        if False:"),
        test="tests/muster/serving/test_connections.py::test_the_one_that_never_asked_makes_room_before_the_one_that_waits_longer",
    ),
    # Gateways
    mutant(
        "a ticket needs no signature",
        "a worker opens a tunnel with a ticket that the control plane signed",
        ("muster/api/tickets.py", "    if not hmac.compare_digest(_mac(key, signed), _decode(mac)):", "    if False:"),
        test="tests/muster/api/test_tickets.py::test_another_key_another_version_or_another_gateway_is_refused",
    ),
    mutant(
        "a ticket opens every gateway",
        "a gateway's ticket is good at that gateway alone",
        ("muster/api/tickets.py", "    if claims.audience != audience:", "    if False:"),
        test="tests/muster/api/test_tickets.py::test_another_key_another_version_or_another_gateway_is_refused",
    ),
    mutant(
        "a superseded agent opens tunnels again",
        "a gateway refuses a session that is older than one it has seen",
        ("muster/gateway/tunnels.py", "        if claims.session < self._sessions.get(claims.worker_id, 0):", "        if False:"),
        test="tests/muster/gateway/test_tunnels.py::test_a_third_connection_replaces_the_oldest_and_a_newer_session_all_before_it",
    ),
    mutant(
        "a gateway reaches every path of a model",
        "the agent checks the path itself",
        ("agent/muster_agent/tunnel/exchanges.py", '            self._path = self._all.paths.check(pseudo.get(b":path", b""))', '            self._path = pseudo.get(b":path", b"")'),
        test="tests/agent/tunnel/test_exchanges.py::test_what_is_no_inference_or_not_here_is_refused_before_the_model",
    ),
    mutant(
        "a model that drains gets requests",
        "an instance that is about to stop gets no new request",
        ("agent/muster_agent/tunnel/exchanges.py", "        if found.instance in self._draining:", "        if False:"),
        test="tests/agent/tunnel/test_exchanges.py::test_an_instance_that_drains_gets_nothing_new_and_finishes_what_runs",
    ),
    mutant(
        "a model is stopped under its requests",
        "requests may finish before their model is stopped",
        ("agent/muster_agent/runner/plan_executor.py", "                self._context.host.drain(instance_id, self.cancelled.is_set)\n", ""),
        test="tests/agent/runner/test_plan_executor.py::test_requests_may_finish_before_their_instance_is_stopped",
    ),
    mutant(
        "an end floods the other with control frames",
        "control frames have a rate",
        ("muster/tunnel/link.py", "        if self._allowance < 0:", "        if False:"),
        test="tests/muster/tunnel/test_link.py::test_a_flood_of_control_frames_is_given_up",
    ),
    mutant(
        "a frame takes 16 MiB of memory",
        "a frame's length is looked at before all of it is there",
        ("muster/tunnel/link.py", "        if len(self.h2.incoming_buffer._data) > MAX_FRAME + FRAME_HEAD:", "        if False:"),
        test="tests/muster/tunnel/test_link.py::test_an_agent_that_sends_requests_or_garbage_is_given_up",
    ),
    mutant(
        "a stream is repeated after its first byte",
        "a request is sent again only while the caller has no byte of an answer",
        ("muster/gateway/proxying.py", "            await self.reply.end(rest)\n        except Broken as error:\n            raise _interrupted(error) from error", "            await self.reply.end(rest)\n        except Broken as error:\n            raise Unavailable(error.reason, str(error)) from error"),
        test="tests/muster/gateway/test_proxying.py::test_a_stream_that_breaks_ends_with_the_error_as_an_event",
    ),
    mutant(
        "a key opens every model",
        "a caller's key is good for the models that it names",
        ("muster/gateway/proxying.py", "        if caller.models and asked.model not in caller.models:", "        if False:"),
        test="tests/muster/gateway/test_proxying.py::test_keys_scopes_and_limits_are_checked_before_a_model_is_asked",
    ),
    mutant(
        "a body names two models",
        "a body that two programs could read differently is refused",
        ("muster/gateway/openai_request.py", "body.count(name) > 1 for name in WATCHED", "False for name in WATCHED"),
        test="tests/muster/gateway/test_openai_request.py::test_what_is_not_one_clear_body_is_refused",
    ),
    mutant(
        "a body is read before its key",
        "nobody without a key has the gateway hold a body",
        (
            "muster/gateway/app.py",
            "            caller = await self._caller(scope)\n            with",
            "            await receive()\n            caller = await self._caller(scope)\n            with",
        ),
        test="tests/muster/gateway/test_app.py::test_nothing_is_read_of_a_body_without_a_good_key",
    ),
    mutant(
        "a request on a dead tunnel",
        "a tunnel that is about to close takes no request, which nothing would end",
        ("muster/gateway/tunnels.py", "if not tunnel.has_ended]", "if True]"),
        ("muster/tunnel/link.py", "        if self._is_lost:", "        if False:"),
        test="tests/muster/gateway/test_tunnels.py::test_a_tunnel_that_is_about_to_close_takes_no_more_requests",
    ),
    mutant(
        "a silent end keeps its tunnel",
        "an end that takes nothing does not keep the connection",
        ("muster/tunnel/carrier.py", "            self._is_over.set()\n", ""),
        test="tests/muster/tunnel/test_carrier.py::test_an_end_that_takes_nothing_does_not_keep_the_connection",
    ),
    mutant(
        "an answer waits in the kernel",
        "little is sent ahead to a caller that reads nothing",
        ("muster/serving/http_protocol.py", "        _bound_unsent(transport)\n", ""),
        test="tests/muster/serving/test_http_protocol.py::test_little_is_sent_ahead_to_a_caller_that_reads_nothing",
    ),
    mutant(
        "bodies without end",
        "a gateway holds only so many bytes of bodies",
        ("muster/gateway/bodies.py", "        if self._bytes + size > self._most:", "        if False:"),
        test="tests/muster/gateway/test_bodies.py",
    ),
    mutant(
        "a late report takes usage back",
        "a sum is stored unless it is smaller",
        ("chalicelib/gateways/usage_sums.py", "UsageTotal.subject.does_not_exist() | grows", "UsageTotal.subject.does_not_exist() | UsageTotal.subject.exists()"),
        test="tests/chalicelib/gateways/test_usage_sums.py::test_reports_in_any_order_and_any_number_of_times_are_the_same",
    ),
    mutant(
        "an admin's key is a gateway's",
        "the routes of gateways are outside of the order of roles",
        ("chalicelib/auth/access.py", "    if needed in (Access.WORKER, Access.GATEWAY):", "    if needed is Access.WORKER:"),
        test="tests/chalicelib/gateways/test_caller_keys.py::test_no_other_key_opens_the_routes_of_gateways",
    ),
    # Reports
    mutant(
        "reports are sent in one order",
        "one refused report holds up no other deployment's",
        ("agent/muster_agent/state/outbox.py", "return sorted(found.values(), key=lambda entry: (entry.is_rest, entry.id < 0, abs(entry.id)))", "return sorted(found.values(), key=lambda entry: (entry.is_rest, entry.id < 0, abs(entry.id)))[:1]"),
        test="tests/agent/control/test_reporter.py::test_one_deployments_refused_reports_hold_up_no_other",
    ),
    mutant(
        "a report is never shrunk",
        "a final status arrives where its log cannot",
        ("agent/muster_agent/control/shrink.py", "        if version != made[-1]:\n", "        if False:\n"),
        test="tests/agent/control/test_reporter.py::test_a_final_status_arrives_by_shrinking_and_its_log_once_the_network_takes_it",
    ),
    mutant(
        "the oldest report goes first",
        "a deployment's last report is not pushed out by another's chatter",
        ("agent/muster_agent/state/outbox.py", '" ORDER BY is_rest DESC, depth DESC, kind = \'status\', id LIMIT ?)"', '" ORDER BY id LIMIT ?)"'),
        test="tests/agent/state/test_outbox.py::test_one_deployments_chatter_pushes_out_no_others_last_report",
    ),
    mutant(
        "what was concluded stands against the worker's report",
        "an error that the worker reports replaces one that the control plane only concluded",
        ("chalicelib/reconcile/reports.py", "return new is Status.ERROR and deployment.error_code in CONTACT_LOST", "return False"),
        test="tests/chalicelib/reconcile/test_reports.py::test_what_follows_from_an_end_follows_where_it_was_concluded_before",
    ),
    # Delivery
    mutant(
        "the server forgets on delivery",
        "an intent is sent until the worker has shown that it has it",
        ("chalicelib/reconcile/sending.py", "Slot.sent_session.set(run.session), Slot.mismatch_since.remove()]", "Slot.sent_session.set(run.session), Slot.settled_at.set(run.now)]"),
    ),
    mutant(
        "no safety net",
        "one beat in ten looks anyway",
        ("chalicelib/workers/heartbeat.py", "RECONCILE_EVERY_HEARTBEATS = 10", "RECONCILE_EVERY_HEARTBEATS = 10**9"),
        test="tests/chalicelib/test_found_by_simulation.py::test_a_clone_is_sent_what_its_journal_lacks_although_no_bell_rang_for_it",
    ),
    mutant(
        "any digest is known",
        "a short heartbeat refers to what was reconciled last, or all of it is demanded",
        ("chalicelib/workers/heartbeat.py", "    if not is_known or _is_disturbed", "    if _is_disturbed"),
        test="tests/chalicelib/workers/test_heartbeat.py::test_a_digest_that_is_not_the_last_is_answered_with_a_demand",
    ),
    mutant(
        "short heartbeats have no safety net",
        "one short heartbeat in ten is answered with a demand",
        ("chalicelib/workers/heartbeat.py", " or heartbeat.drains or _is_tenth(heartbeat):", " or heartbeat.drains:"),
        test="tests/chalicelib/workers/test_heartbeat.py::test_nine_of_ten_heartbeats_are_short_and_the_tenth_looks",
    ),
    mutant(
        "a change is sent as nothing new",
        "a heartbeat is short only if all but the figures is what the control plane has confirmed",
        ("agent/muster_agent/heartbeat.py", "_has_news(body) or _lasting(body) != confirmed.lasting:", "_has_news(body):"),
        test="tests/agent/test_heartbeat.py::test_a_change_is_sent_in_full_and_then_is_known",
    ),
    mutant(
        "a lost journal is not asked about",
        "a new journal_id is sent every intent again",
        ("chalicelib/reconcile/reconciler.py", "(run.journal_lost or run.missed(slot))", "False"),
    ),
    mutant(
        "a part of the commands raises the inbox",
        "a full answer does not raise the inbox: a journal that lacks the rest still shows that",
        ("chalicelib/workers/heartbeat.py", "    if sent >= sending.MAX_COMMANDS and body.inbox is not None:\n", "    if False:\n"),
        test="tests/chalicelib/test_found_by_simulation.py::test_a_journal_that_lacks_more_than_one_answer_holds_is_sent_all_of_it",
    ),
    mutant(
        "operations are requeued after a disk was lost",
        "what was sent to a journal that is lost is AGENT_STATE_LOST",
        ("chalicelib/reconcile/reconciler.py", "        if run.journal_lost:\n            queue.state_lost", "        if False:\n            queue.state_lost"),
        test="tests/chalicelib/reconcile/test_reconciler.py::test_an_operation_that_was_sent_is_lost_with_the_journal_and_does_not_run_twice",
    ),
    mutant(
        "a stop cancels a deploy that was sent",
        "only a deploy that was never sent is stopped at once",
        ("chalicelib/store/slots.py", 'return slot.intent == "deploy" and not _reached(slot) and not slot.may_be_running', 'return slot.intent == "deploy" and slot.settled_at is None'),
    ),
    mutant(
        "an intent does not look whether it was sent meanwhile",
        "an intent is overwritten on condition that it is as it was read",
        ("chalicelib/store/slots.py", "    same &= Slot.sent_at.exists() if before.sent_at else Slot.sent_at.does_not_exist()\n", ""),
        test="tests/chalicelib/test_found_by_simulation.py::test_an_intent_that_was_sent_since_it_was_read_is_read_again",
    ),
    mutant(
        "no fence on the receipt",
        "only a session to which an intent was sent may acknowledge it",
        ("chalicelib/store/slots.py", "        condition &= Slot.sent_session <= session\n", "        pass\n"),
        test="tests/chalicelib/test_found_by_simulation.py::test_an_older_sessions_word_is_no_receipt",
    ),
    mutant(
        "no fence of sessions",
        "a heartbeat of an older session is refused",
        ("chalicelib/workers/heartbeat.py", "        may &= WorkerHeartbeat.session <= session\n", ""),
        ("chalicelib/auth/tokens.py", "    update_if(heartbeat, actions, WorkerHeartbeat.digest == presented)", "    pass"),
        ("chalicelib/workers/registration.py", "WorkerHeartbeat.previous_until.set(now + TOKEN_GRACE_SECONDS)", "WorkerHeartbeat.previous_until.set(now + 10**9)"),
    ),
    mutant(
        "a deleted deployment leaves no stop",
        "the stop stays in its slot until absence is shown",
        ("chalicelib/deployments/intents.py", '            if before is not None and before.intent == "deploy":\n                _put_stop', '            if False:\n                _put_stop'),
        plot="silence",
    ),
    mutant(
        "a stop is never sent again",
        "what runs and is meant to be stopped gets its stop again",
        ("chalicelib/reconcile/mismatches.py", "if (over and slot.mismatch_since is not None) or abs(run.now - slot.settled_at) >= MISMATCH_SECONDS:", "if False:"),
        test="tests/chalicelib/test_found_by_simulation.py::test_a_container_that_came_up_after_its_stop_had_ended_is_stopped_again",
    ),
    mutant(
        "a basic client gets a deploy over what may live",
        "to a basic client a deploy waits until the stop before it is settled",
        ("chalicelib/reconcile/sending.py", "if is_deploy and is_first and slot.may_be_running and run.rules.needs_stop_before_deploy:", "if False:"),
    ),
    # Order
    mutant(
        "the order of statuses has no session in it",
        "reports are ordered by generation, session, sequence",
        ("chalicelib/reconcile/reports.py", "return (body.session, body.sequence) <= stored", "return bool(body.sequence <= deployment.status_sequence)"),
    ),
    mutant(
        "late reports count",
        "a late report changes nothing",
        ("chalicelib/reconcile/reports.py", "    if _is_late(deployment, body, generation):\n", "    if False:\n"),
        storm="request delayed",
    ),
    mutant(
        "reports are written blindly",
        "a report is stored on condition that the deployment is as it was read",
        ("chalicelib/reconcile/reports.py", "if not update_if(deployment, actions, Deployment.version == deployment.version):\n        raise TransactionConflict", "update_if(deployment, actions, Deployment.deployment_id.exists())"),
        test="tests/chalicelib/reconcile/test_reports.py::test_a_report_that_a_later_one_overtakes_changes_nothing",
    ),
    mutant(
        "what follows from a report is not done when it is repeated",
        "a repeated report does what the function that stored it did not get to",
        ("chalicelib/reconcile/reports.py", "        if slot.holds_gpus or slot.may_be_running:\n            over(slot, now)", "        pass"),
        test="tests/chalicelib/reconcile/test_reports.py::test_what_follows_from_an_end_follows_when_it_is_reported_again_after_its_function_was_killed",
    ),
    mutant(
        "numbers grow by one",
        "generations and sessions grow with the clock, so that a restored database cannot fall behind",
        ("chalicelib/store/items.py", "return max(int(previous) + 1, int(now * 1000))", "return int(previous) + 1"),
        test="tests/chalicelib/test_found_by_simulation.py::test_what_is_asked_after_a_restore_is_newer_than_what_was_asked_before_it",
    ),
    mutant(
        "an older intent over a newer container",
        "what is newer than an intent leaves the intent behind",
        ("agent/muster_agent/runner/plan.py", "return any((instance.generation or 0) > intent.generation for instance in instances)", "return False"),
        ("agent/muster_agent/state/deployments.py", 'if row and row["generation"] >= command.generation:', 'if row and row["generation"] == command.generation:'),
        test="tests/agent/state/test_deployments.py::test_an_intent_is_new_only_if_its_generation_is_newer_than_the_journaled_one",
    ),
    # Who is who
    mutant(
        "a lost register answer is a second machine",
        "the same boot keeps its session",
        ("chalicelib/workers/admission.py", "return boot is not None and heartbeat.boot is not None and bytes(heartbeat.boot) == boot", "return False"),
    ),
    mutant(
        "an online worker's name goes to whoever says its machine",
        "while a worker is online, only a secret of its own lets a client be that worker",
        ("chalicelib/workers/admission.py", "    if not worker.online(now):\n        yield Rule.NOT_ONLINE", "    if True:\n        yield Rule.NOT_ONLINE"),
        ("chalicelib/workers/admission.py", "return self in (Rule.NOT_ONLINE, Rule.NEVER_HEARD)", "return False"),
        plot="intruder",
    ),
    mutant(
        "any boot id proves possession",
        "the stored boot id is in the agent's journal, and nowhere else",
        ("chalicelib/workers/admission.py", "return heartbeat.boot is not None and bytes(heartbeat.boot) in named", "return heartbeat.boot is not None and bool(named)"),
        plot="intruder",
    ),
    mutant(
        "a client that was kept aside is the worker at once",
        "it gets no commands until the worker is silent",
        ("chalicelib/workers/heartbeat.py", "        if waiting.worker.online(now):\n            return", "        if False:\n            return"),
        plot="intruder",
    ),
    mutant(
        "the reports of a client that was kept aside count",
        "it changes nothing until the worker is silent",
        ("chalicelib/routes/worker.py", "    if call.by.provisional:\n        return reports", "    if False:\n        return reports"),
        plot="intruder",
    ),
    mutant(
        "a heartbeat of the worker does not end what was kept aside",
        "a worker that lives shows that the other client is not it",
        ("chalicelib/auth/provisional.py", "heartbeat.session != self.kept.session or heartbeat.last_seen > self.kept.at + IN_FLIGHT_SECONDS", "False"),
        test="tests/chalicelib/auth/test_provisional.py::test_a_heartbeat_of_the_worker_more_than_ten_seconds_later_ends_it",
    ),
    mutant(
        "a promotion does not look whether the worker was heard of",
        "what rests on silence is written on condition that the silence lasts",
        ("chalicelib/workers/registration.py", "_Basis(by, waiting.token, silence=True)", "_Basis(by, waiting.token, silence=False)"),
        test="tests/chalicelib/auth/test_provisional.py::test_a_heartbeat_of_the_worker_between_reading_and_promoting_wins",
    ),
    mutant(
        "a revoked token still opens the workers that registered with it",
        "a revocation clears the token from every heartbeat item",
        ("chalicelib/auth/tokens.py", "        update_if(heartbeat, [WorkerHeartbeat.joined.remove()], WorkerHeartbeat.joined == digest)", "        pass"),
        test="tests/chalicelib/auth/test_tokens.py::test_a_revoked_token_opens_no_worker_that_registered_with_it",
    ),
    mutant(
        "a registration overlooks a revocation",
        "each registration checks its token in its transaction",
        ("chalicelib/workers/registration.py", "    transaction.condition_check(Credential, token.credential_id, condition=tokens.NOT_REVOKED)", "    pass"),
        test="tests/chalicelib/auth/test_tokens.py::test_a_registration_that_read_the_token_before_it_was_revoked_is_refused",
    ),
    mutant(
        "a takeover leaves the deploys in their slots",
        "a takeover puts stops in the slots: nothing is sent to the new machine until an operator starts it",
        ("chalicelib/workers/registration.py", "losses.mark_lost_and_stop(slot", "losses.mark_lost(slot"),
        ("chalicelib/workers/registration.py", "        WorkerHeartbeat.journal.remove(),\n", "        WorkerHeartbeat.journal.set(b\"another\"),\n"),
        test="tests/chalicelib/workers/test_registration.py::test_a_takeover_sends_nothing_to_the_new_machine_until_somebody_starts_it",
    ),
    mutant(
        "a deployment is lost with a worker that it left",
        "only what is on a worker is lost with it",
        ("chalicelib/deployments/losses.py", " or deployment.worker_id != worker_id:\n        return None", ":\n        return None"),
        test="tests/chalicelib/test_found_by_simulation.py::test_what_moved_on_is_not_lost_with_the_worker_that_it_left",
    ),
    mutant(
        "a worker that took a deploy before it was lost is not told to stop it",
        "a worker may begin what it took: a stop is sent, although nothing of it was ever listed",
        ("chalicelib/store/slots.py", " and not slot.may_be_running and not slot.may_begin", " and not slot.may_be_running"),
        test="tests/chalicelib/test_found_by_simulation.py::test_a_stop_goes_to_a_worker_that_may_begin_yet_what_was_lost_with_it",
    ),
    mutant(
        "what an agent will begin is free when its worker is back",
        "what an agent has journaled and not begun keeps its GPUs: it starts without being told again",
        ("chalicelib/reconcile/mismatches.py", " and slot.settled_at is not None and not pending:", " and slot.settled_at is not None:"),
        test="tests/chalicelib/test_found_by_simulation.py::test_what_an_agent_will_begin_keeps_its_gpus_when_its_worker_was_lost",
    ),
    mutant(
        "a stop that its worker could not journal is over",
        "a worker that is about to start what it was told to stop is told again: its report came before its journal",
        ("chalicelib/reconcile/mismatches.py", "None or not (run.lists(slot) or run.starts(slot)):", "None or not run.lists(slot):"),
        test="tests/chalicelib/test_found_by_simulation.py::test_a_stop_that_could_not_be_journaled_is_sent_again_until_its_worker_has_it",
    ),
    mutant(
        "what ran before a reboot is not listed before somebody could look",
        "a list has what will run again, so that its GPUs are not given to another",
        ("agent/muster_agent/runner/runner.py", "self.record.status in (Status.STARTING, Status.RUNNING)", "self.record.status is Status.STARTING"),
        test="tests/agent/runner/test_manager.py::test_what_ran_before_a_reboot_is_active_while_the_engine_is_down_and_says_why_it_does_not_run",
    ),
    mutant(
        "a container is lost at first sight",
        "one list may be older than what is stored: two beats, 25 seconds apart",
        ("chalicelib/reconcile/mismatches.py", "MISMATCH_SECONDS = 25.0", "MISMATCH_SECONDS = 0.0"),
        test="tests/chalicelib/reconcile/test_mismatches.py::test_lists_that_lack_what_runs_conclude_nothing_within_24_seconds",
    ),
    mutant(
        "an Idempotency-Key is not remembered",
        "a repeated POST returns the first's resource",
        ("chalicelib/store/idempotency.py", "    if key:\n        record = Once", "    if False:\n        record = Once"),
    ),
    # Placement
    mutant(
        "GPUs are claimed without looking",
        "a claim is a conditional write",
        ("chalicelib/scheduling/gpu_claims.py", "condition=capacity.unchanged(record))", "condition=WorkerRecord.name.exists())"),
        test="tests/chalicelib/scheduling/test_scheduler.py::test_a_place_that_somebody_else_took_meanwhile_is_looked_for_again",
    ),
    mutant(
        "a GPU that is free again is not shown",
        "what changes a worker's claims writes its free capacity",
        ("chalicelib/scheduling/gpu_claims.py", "actions = capacity.changed(record, claims=write_claims(claims))", "actions = [WorkerRecord.claims.set(write_claims(claims))]"),
        test="tests/chalicelib/fleet/test_capacity.py::test_a_deployment_takes_gpus_and_gives_them_back",
    ),
    mutant(
        "free capacity is written without looking",
        "free capacity is written where its inputs are as they were read",
        ("chalicelib/fleet/capacity.py", "actions=changed(record, **inputs), condition=unchanged(record))", "actions=changed(record, **inputs), condition=WorkerRecord.name.exists())"),
        test="tests/chalicelib/fleet/test_capacity.py::test_a_deploy_in_the_middle_of_a_return_leaves_the_index_right",
    ),
    mutant(
        "a worker that returns is not shown again",
        "the index gets a worker back with the heartbeat that ends its silence",
        ("chalicelib/reconcile/worker_state.py", "WorkerHeartbeat.down_since == run.heartbeat.down_since, down=None)", "WorkerHeartbeat.down_since == run.heartbeat.down_since, down=True)"),
        test="tests/chalicelib/fleet/test_capacity.py::test_the_sweep_takes_a_silent_worker_out_and_its_heartbeat_puts_it_back",
    ),
    mutant(
        "the index decides before it is complete",
        "until a sweep compared the index with every worker, the whole fleet decides",
        ("chalicelib/scheduling/scheduler.py", "    if view is not None and _place(deployment_id, View(), now)", "    if _place(deployment_id, View(), now)"),
        test="tests/chalicelib/scheduling/test_capacity_view.py::test_before_the_index_is_complete_the_whole_fleet_decides",
    ),
    mutant(
        "nothing but the index is asked for a place",
        "a sweep reads the whole fleet where the index shows no place, once a pause is over",
        ("chalicelib/scheduling/scheduler.py", "    if left and view_audit.is_due(view, now):", "    if False:"),
        test="tests/chalicelib/scheduling/test_view_audit.py::test_a_claim_that_outlived_its_slot_is_found_by_a_sweep_once_the_pause_is_over",
    ),
    mutant(
        "a worker is taken as the index shows it",
        "a worker that the index shows is read before it is chosen",
        ("chalicelib/scheduling/capacity_view.py", "        read = workers.several(list(worker_ids))\n", "        read = {i: w for i, w in scan.workers().items() if i in worker_ids}\n        for w in read.values():\n            w.heartbeat.last_seen, w.heartbeat.status = now, \"online\"\n"),
        test="tests/chalicelib/scheduling/test_capacity_view.py::test_a_worker_that_fell_silent_is_passed_over",
    ),
    mutant(
        "a claim is taken away whoever holds it by now",
        "a claim is taken away only where its slot does not hold at that moment",
        ("chalicelib/scheduling/gpu_claims.py", "    transaction.condition_check(Slot, worker_id, f\"D#{deployment_id}\", condition=slots.LETS_GO)\n", "    pass\n"),
        ("chalicelib/scheduling/gpu_claims.py", "if (slot is not None and slot.holds_gpus) or _rewrite", "if _rewrite"),
        test="tests/chalicelib/test_found_by_simulation.py::test_a_stop_that_is_overtaken_by_a_start_does_not_free_its_gpus",
    ),
    mutant(
        "GPUs are free before the old container has let go",
        "what may live holds its GPUs",
        ("chalicelib/scheduling/reservation.py", "    if before is not None and before.may_be_running:  #", "    if False:  #"),
        test="tests/chalicelib/test_found_by_simulation.py::test_gpus_are_not_free_before_the_old_container_has_let_go",
    ),
    mutant(
        "a move does not wait",
        "a container on the worker that it leaves is gone first, where that worker can be asked",
        ("chalicelib/scheduling/reservation.py", "    if worker and slot and slot.may_be_running and worker.online(now):", "    if False:"),
        storm="restless operators",
    ),
    mutant(
        "workers' numbers have no bound",
        "a generation or session is at most the stored one, or what the clock allows",
        ("chalicelib/fleet/bounds.py", "    if number is not None and number > most:", "    if False:"),
        ("chalicelib/workers/heartbeat.py", "    is_ahead = figures.session is not None and figures.session > bounds.latest(now)\n", "    is_ahead = False\n"),
        test="tests/chalicelib/fleet/test_bounds.py::test_a_report_from_the_future_is_refused_and_leaves_nothing",
    ),
    mutant(
        "a report's session is not remembered",
        "a session ahead of the clock raises the stored one, so that the next one is above it",
        ("chalicelib/fleet/bounds.py", "if session is not None and session >= int(now * 1000):", "if False:"),
        test="tests/chalicelib/fleet/test_bounds.py::test_a_report_within_the_margin_is_taken_and_the_next_is_newer",
    ),
    mutant(
        "labels do not matter",
        "a deployment runs where its selector matches",
        ("chalicelib/scheduling/placement.py", "    if lacking:\n", "    if False:\n"),
    ),
    mutant(
        "which GPUs does not matter",
        "a deployment that names its GPUs gets those",
        ("chalicelib/scheduling/placement.py", "if isinstance(need.gpus, int) else need.gpus\n", "if isinstance(need.gpus, int) else worker.free[: need.count]\n"),
    ),
    mutant(
        "a fleet that falls silent at once is down",
        "where most of a fleet falls silent in one sweep, nothing is recorded",
        ("chalicelib/workers/liveness.py", "    massive = fleet_size >= BRAKE_MIN_WORKERS and fresh * 2 > fleet_size\n", "    massive = False\n    if fleet_size >= BRAKE_MIN_WORKERS and fresh * 2 > fleet_size:\n        Brake(\"sweep\", part=\"brake\", until=now + BRAKE_SECONDS).save()\n        return False\n"),
    ),
    mutant(
        "a lost GPU is given away",
        "nothing is placed on a GPU that does not answer",
        ("chalicelib/scheduling/choice.py", "    free = tuple(index for index in unclaimed if index not in worker.unusable)\n", "    free = tuple(unclaimed)\n"),
    ),
    mutant(
        "what is lost gives up its GPUs",
        "a deployment that may live on a worker holds its GPUs there, whatever was concluded from silence",
        ("chalicelib/deployments/losses.py", "    slot.may_be_running = slot.holds_gpus = bool(slot.may_be_running or slot.sent_at)\n", "    slot.may_be_running, slot.holds_gpus = bool(slot.may_be_running or slot.sent_at), False\n"),
        test="tests/chalicelib/deployments/test_losses.py::test_what_is_lost_says_why_and_holds_its_gpus_for_as_long_as_it_may_run_in_them",
    ),
    mutant(
        "an agent starts on a GPU in which another model runs",
        "the agent looks who runs on a GPU, right before a start",
        ("agent/muster_agent/runner/preflight.py", "    users = gpu.users(there, worker_id, command.deployment_id)\n", "    users: list[Instance] = []\n"),
        test="tests/agent/gpus/test_gpu_usage.py::test_a_model_does_not_start_on_a_gpu_in_which_another_of_musters_runs",
    ),
    # Operations
    mutant(
        "what was sent can be cancelled",
        "cancelling is on condition that it was not sent",
        ("chalicelib/operations/queue.py", "_move(operation, S.CANCELLED, now, Operation.sent_at.does_not_exist())", "_move(operation, S.CANCELLED, now, Operation.operation_id.exists(), anyhow=True)"),
    ),
    mutant(
        "silence is waited for",
        "accepted and silent for 10 minutes is RESULT_LOST",
        ("chalicelib/operations/queue.py", "elif operation.status in (S.ACCEPTED, S.RUNNING) and now - operation.updated_at > RESULT_SILENCE_SECONDS:", "elif False:"),
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Verdict:
    """`after`: where it was sought until then. `said`: the violation."""

    mutant: Mutant
    after: str
    said: str | None


def examine_all(mutants: Iterable[Mutant], most: int = SEEDS, first: int = 0) -> Iterator[Verdict]:
    """The verdicts in the order of the mutants, as many at a time as there are cores. Raises ValueError."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield from pool.map(lambda each: examine(each, most, first), mutants)


def examine(mutant: Mutant, most: int = SEEDS, first: int = 0) -> Verdict:
    """Raises ValueError where the protection is not where the mutant looks for it."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in COPIED:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "*.whl"))
            else:
                shutil.copy(ROOT / name, copy / name)
        for patch in mutant.patches:
            patch.apply(copy)
        if mutant.test:
            return _tested(mutant, copy, mutant.test)
        return _simulated(mutant, copy, most, first)


def _tested(mutant: Mutant, copy: Path, test: str) -> Verdict:
    done = _python(copy, "pytest", "-q", "-p", "no:cacheprovider", test)
    if done.returncode not in (0, 1):
        raise ValueError(f"{mutant.name}: the test broke: {done.stdout[-2000:]}")
    said = next((line for line in done.stdout.splitlines() if line.startswith("E ")), "")
    return Verdict(mutant, "its test", said.removeprefix("E").strip() if done.returncode else None)


def _simulated(mutant: Mutant, copy: Path, most: int, first: int) -> Verdict:
    where = [f"--plot={mutant.plot}"] if mutant.plot else []
    where += [f"--storm={mutant.storm}"] if mutant.storm else []
    done = _python(copy, "tests.simulation", "--jobs=1", "--most=1", f"--first={first}", f"--seeds={most}", *where)
    closing = re.search(r"([\d,]+) seeds, ([\d,]+) violations", done.stdout)
    if closing is None:
        raise ValueError(f"{mutant.name}: the simulation broke: {done.stderr[-2000:]}")
    said = done.stderr.partition("\nreplay:")[0].strip().splitlines()[-1:] if closing[2] != "0" else []
    return Verdict(mutant, f"{closing[1]} seeds", said[0] if said else None)


def _python(copy: Path, *module: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {
        "PYTHONPATH": str(copy / "agent"),
        "TEST_PATIENCE_SECONDS": str(MUTANT_PATIENCE_SECONDS),
    }
    return subprocess.run(
        [sys.executable, "-m", *module], cwd=copy, env=environment, capture_output=True, text=True, check=False
    )


@click.command(help=__doc__)
@click.argument("names", nargs=-1)
@click.option("--most", default=SEEDS, show_default=True, help="Seeds for each at most.")
@click.option("--first", default=0, show_default=True)
def main(names: tuple[str, ...], most: int, first: int) -> None:
    console = Console()
    chosen = [each for each in MUTANTS if not names or each.name in names]
    uncaught = 0
    for plot, storm in dict.fromkeys((each.plot, each.storm) for each in chosen):
        with console.status("the code as it is"):
            control = examine(Mutant("none", "none", (), plot, storm), min(most, CONTROL), first)
        if control.said:
            raise click.ClickException(
                f"the code as it is has a violation, so that no mutant proves anything: {control.said}"
            )
    for verdict in track(examine_all(chosen, most, first), "Examining", len(chosen), console=console, transient=True):
        each = verdict.mutant
        uncaught += verdict.said is None
        found = f"caught within {verdict.after}" if verdict.said else f"NOT CAUGHT in {verdict.after}"
        console.print(f"{each.name}\n    {found}: {verdict.said or each.protection}", markup=False, highlight=False)
    console.print(f"{len(chosen)} mutants, {len(chosen) - uncaught} caught")
    sys.exit(1 if uncaught else 0)


if __name__ == "__main__":
    main()
