"""What every engine must do, whatever it is made of: one suite for the real ones and the fakes, so that no fake drifts.

A test module subclasses `EngineSuite` and has a fixture `rig` that gives a `Rig`.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from threading import Event
from typing import Protocol, TypeVar

import pytest

from agent.engines import Engine, EngineError, Instance, RunSpec

T = TypeVar("T")


class Rig(Protocol):
    """An engine with strings attached to what it runs."""

    @property
    def engine(self) -> Engine: ...

    def spec(
        self, deployment_id: str = "d1", generation: int = 1, worker_id: str = "w1", stubborn: bool = False
    ) -> RunSpec:
        """Something that prints `ready`, then runs until it is told otherwise; `stubborn` has to be killed."""

    def say(self, instance: Instance, text: bytes) -> None:
        """Makes it print `text`, which ends with a newline; returns when that is in its log."""

    def die(self, instance: Instance, exit_code: int) -> None:
        """Makes it end by itself; returns when it is dead."""

    def occupied(self, port: int) -> AbstractContextManager[None]:
        """Somebody else listens on the port."""

    def reopened(self) -> Engine:
        """The engine of an agent that was killed and started again."""


def eventually(look: Callable[[], T], seconds: float = 15.0) -> T:
    """What `look` gives as soon as that is true. Real processes take their time."""
    end = time.monotonic() + seconds
    while not (seen := look()):
        assert time.monotonic() < end, "it never came"
        time.sleep(0.02)
    return seen


def any_port() -> int:
    """A port that nobody has, on a machine where other tests may run as well."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def only(rig: Rig) -> Instance:
    (instance,) = (each for each in rig.engine.instances() if each.deployment_id)
    return instance


def ready(rig: Rig, instance: Instance) -> Instance:
    eventually(lambda: "ready" in rig.engine.logs(instance.id, 10, None).text)
    return instance


class EngineSuite:
    def test_an_instance_says_whose_it_is(self, rig: Rig) -> None:
        spec = rig.spec("d1", 7)
        instance = rig.engine.start(spec)
        assert (instance.name, instance.state) == ("muster-d1-g7", "running")
        assert (instance.worker_id, instance.deployment_id, instance.generation) == ("w1", "d1", 7)
        assert (instance.model, instance.bind, instance.port) == (spec.model, spec.bind, spec.port)
        assert only(rig).id == instance.id

    def test_starting_twice_is_starting_once(self, rig: Rig) -> None:
        first = rig.engine.start(rig.spec())
        assert rig.engine.start(rig.spec()).id == first.id
        assert only(rig).id == first.id

    def test_many_that_start_the_same_at_once_get_the_same(self, rig: Rig) -> None:
        spec = rig.spec()
        with ThreadPoolExecutor(16) as pool:
            started = list(pool.map(lambda _: rig.engine.start(spec).id, range(16)))
        assert set(started) == {only(rig).id}

    def test_the_name_of_another_worker_is_left_alone(self, rig: Rig) -> None:
        other = rig.engine.start(rig.spec(worker_id="w2"))
        with pytest.raises(EngineError, match="muster-d1-g1"):
            rig.engine.start(rig.spec(worker_id="w1"))
        assert (only(rig).id, only(rig).worker_id) == (other.id, "w2")

    def test_an_agent_that_comes_back_finds_what_it_started(self, rig: Rig) -> None:
        running = ready(rig, rig.engine.start(rig.spec("d1")))
        dead = ready(rig, rig.engine.start(rig.spec("d2")))
        rig.die(dead, 3)
        seen = {each.deployment_id: each for each in rig.reopened().instances() if each.deployment_id}
        assert (seen["d1"].id, seen["d1"].state) == (running.id, "running")
        assert (seen["d2"].id, seen["d2"].state, seen["d2"].exit_code) == (dead.id, "exited", 3)
        assert rig.reopened().start(rig.spec("d1")).id == running.id

    def test_what_ends_by_itself_keeps_exit_code_and_log(self, rig: Rig) -> None:
        for exit_code in (0, 1, 77):
            instance = ready(rig, rig.engine.start(rig.spec()))
            rig.die(instance, exit_code)
            assert (only(rig).state, only(rig).exit_code, only(rig).oom_killed) == ("exited", exit_code, False)
            assert "ready" in rig.engine.logs(instance.id, 10, None).text
            rig.engine.remove(instance.id)

    def test_a_dead_one_keeps_its_name_until_it_is_removed(self, rig: Rig) -> None:
        dead = ready(rig, rig.engine.start(rig.spec()))
        rig.die(dead, 1)
        assert rig.engine.start(rig.spec()).state == "exited"
        rig.engine.remove(dead.id)
        again = rig.engine.start(rig.spec())
        assert again.state == "running"
        assert again.id != dead.id

    def test_stop_returns_when_it_is_dead(self, rig: Rig) -> None:
        instance = ready(rig, rig.engine.start(rig.spec()))
        rig.engine.stop(instance.id, 10)
        assert (only(rig).state, only(rig).exit_code) in (("exited", 143), ("exited", 137))
        assert "ready" in rig.engine.logs(instance.id, 10, None).text

    def test_what_ignores_the_request_is_killed(self, rig: Rig) -> None:
        instance = ready(rig, rig.engine.start(rig.spec(stubborn=True)))
        rig.engine.stop(instance.id, 0.5)
        assert (only(rig).state, only(rig).exit_code) == ("exited", 137)

    def test_absent_is_done(self, rig: Rig) -> None:
        instance = ready(rig, rig.engine.start(rig.spec()))
        for _ in range(2):
            rig.engine.stop(instance.id, 5)
        for _ in range(2):
            rig.engine.remove(instance.id)
        rig.engine.stop(instance.id, 5)
        rig.engine.stop("../no such thing", 5)
        rig.engine.remove("../no such thing")
        assert [each for each in rig.engine.instances() if each.deployment_id] == []

    def test_a_running_one_is_not_removed(self, rig: Rig) -> None:
        instance = rig.engine.start(rig.spec())
        with pytest.raises(EngineError):
            rig.engine.remove(instance.id)
        assert only(rig).state == "running"

    def test_a_start_that_fails_leaves_nothing(self, rig: Rig) -> None:
        spec = rig.spec()
        with rig.occupied(spec.port):
            with pytest.raises(EngineError) as raised:
                rig.engine.start(spec)
            assert raised.value.error_code == "PORT_IN_USE"
            assert [each for each in rig.engine.instances() if each.deployment_id] == []
        assert rig.engine.start(spec).state == "running"

    def test_the_last_lines(self, rig: Rig) -> None:
        instance = ready(rig, rig.engine.start(rig.spec()))
        rig.say(instance, b"".join(b"line %d\n" % number for number in range(100)))
        chunk = rig.engine.logs(instance.id, 3, None)
        assert (chunk.text, chunk.truncated) == ("line 97\nline 98\nline 99\n", True)
        assert not rig.engine.logs(instance.id, 1000, None).truncated

    def test_next_since_misses_nothing_and_repeats_nothing(self, rig: Rig) -> None:
        instance = ready(rig, rig.engine.start(rig.spec()))
        since, seen = None, ""
        for number in range(5):
            rig.say(instance, b"a %d\nb %d\n" % (number, number))
            chunk = rig.engine.logs(instance.id, 100, since)
            since, seen = chunk.next_since, seen + chunk.text
            assert rig.engine.logs(instance.id, 100, since).text == ""
        told = [line for line in seen.splitlines() if not line.startswith("ready")]
        assert told == [f"{letter} {number}" for number in range(5) for letter in "ab"]

    def test_times_are_rfc_3339_or_epoch_seconds(self, rig: Rig) -> None:
        instance = ready(rig, rig.engine.start(rig.spec()))
        for early in ("2001-01-01T00:00:00Z", "2001-01-01T01:00:00.5+01:00", "0", "978307200.25", "-5"):
            assert "ready" in rig.engine.logs(instance.id, 10, early).text
        for late in ("2999-01-01T00:00:00Z", "32472144000"):
            assert rig.engine.logs(instance.id, 10, late).text == ""
        for wrong in ("yesterday", "", "nan", "1e99", "2024-13-01T00:00:00Z", "2024-01-01", "٣"):
            with pytest.raises(EngineError) as raised:
                rig.engine.logs(instance.id, 10, wrong)
            assert raised.value.error_code == "INVALID_REQUEST"

    def test_undecodable_bytes_are_replaced(self, rig: Rig) -> None:
        instance = ready(rig, rig.engine.start(rig.spec()))
        rig.say(instance, b"caf\xc3\xa9 \xff\xfe end\n")
        assert rig.engine.logs(instance.id, 1, None).text == "caf\u00e9 \ufffd\ufffd end\n"

    def test_bytes_that_are_no_text_harm_nothing(self, rig: Rig) -> None:
        instance = ready(rig, rig.engine.start(rig.spec()))
        rig.say(instance, b"10 %\r20 %\n\x00\x01\x1b[31m\x7f\x80\n\nend\n")
        expected = "10 %\r20 %\n\x00\x01\x1b[31m\x7f\ufffd\n\nend\n"
        log = rig.engine.logs(instance.id, 4, None)
        assert (log.text, len(log.times)) == (expected, 4)

    def test_no_log_of_what_is_not_there(self, rig: Rig) -> None:
        for absent in ("no-such-thing", "../../etc", "0" * 64):
            with pytest.raises(EngineError) as raised:
                rig.engine.logs(absent, 10, None)
            assert raised.value.error_code == "CONTAINER_NOT_FOUND"

    def test_prune_forgets_the_dead_and_keeps_the_living(self, rig: Rig) -> None:
        dead, alive = (ready(rig, rig.engine.start(rig.spec(each))) for each in ("dead", "alive"))
        rig.die(dead, 1)

        def pruned(dry_run: bool, containers: bool = True) -> set[str | None]:
            rig.engine.prune(images=frozenset(), containers=containers, volumes=True, dry_run=dry_run)
            return {each.deployment_id for each in rig.engine.instances() if each.deployment_id}

        assert pruned(dry_run=True) == {"dead", "alive"}
        assert pruned(dry_run=False, containers=False) == {"dead", "alive"}
        assert pruned(dry_run=False) == {"alive"}
        assert only(rig).id == alive.id

    def test_an_engine_without_images_says_so(self, rig: Rig) -> None:
        if rig.engine.uses_images:
            assert not rig.engine.has_image("muster-test/none:1")
            return
        assert rig.engine.images() == []
        with pytest.raises(EngineError) as raised:
            rig.engine.pull("a:b", lambda progress: None, Event())
        assert raised.value.error_code == "UNSUPPORTED_BY_ENGINE"
        with pytest.raises(EngineError) as raised:
            rig.engine.delete_image("a:b", force=False)
        assert raised.value.error_code == "UNSUPPORTED_BY_ENGINE"
