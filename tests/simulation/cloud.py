"""The control plane's side: real routes and services as functions that may be killed, or overtaken by another one,
between any two of their database calls; and the network that leads to them."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
import requests
from pynamodb.exceptions import PynamoDBException

from chalicelib.reconcile.sending import MAX_COMMANDS
from chalicelib.routes import register, worker
from chalicelib.routes.http import Call, authenticated, unexpected
from chalicelib.store.items import TransactionConflict
from muster.api.endpoints import BY_NAME
from muster.api.errors import ApiError
from muster.api.messages import ShortHeartbeatAnswer
from tests.fixtures.dynamodb_peers import Request
from tests.fixtures.fake_server import FakeServer
from tests.simulation.database import UnreliableDynamoDB
from tests.simulation.faults import Faults

HANDLERS = {"register": register.register, "heartbeat": worker.beat, "status": worker.report, "result": worker.result}
NAMES = {"status": "report"}
MOST_CALLS = 12


class Killed(BaseException):
    """The function was killed here; nothing in it may catch this."""


class Cloud:
    """`overtaker` is what may happen between two database calls of another function."""

    def __init__(self, database: UnreliableDynamoDB, faults: Faults) -> None:
        self.database, self.faults = database, faults
        self.overtaker: Callable[[], object] = lambda: None
        self._kill_in: int | None = None
        self._overtake_in: int | None = None
        self._running = False
        database.before = self._before
        database.strikes = lambda fault, chance: self._running and faults.strikes(fault, chance)
        database.choose = faults.random.randrange
        database.at(lambda: faults.now)

    def run(self, name: str, function: Callable[[], Any]) -> tuple[bool, Any]:
        """Whether it survived, and what it returned; ApiError and TransactionConflict are raised as they come.

        Raises ApiError for a database that is busy, as the routes do.
        """
        if self._running:
            return True, self._answered(name, function)
        self._running = True
        if self.faults.strikes("function killed", 0.05):
            self._kill_in = self.faults.random.randrange(MOST_CALLS)
        if self.faults.strikes("function overtaken", 0.1):
            self._overtake_in = self.faults.random.randrange(MOST_CALLS)
        try:
            return True, self._answered(name, function)
        except Killed:
            self.faults.note(f"  {name} was killed")
            return False, None
        finally:
            self._running, self._kill_in, self._overtake_in = False, None, None

    def _answered(self, name: str, function: Callable[[], Any]) -> Any:
        try:
            return function()
        except PynamoDBException as error:
            answer = unexpected(error, name)
            if answer.status != 503:  # the caller is told that it may try again
                raise
            raise answer from error

    def _before(self, operation: str, request: Request) -> None:
        if self._overtake_in is not None:
            self._overtake_in -= 1
            if self._overtake_in < 0:
                self._overtake_in, kill_in, self._kill_in = None, self._kill_in, None
                self.overtaker()
                self._kill_in = kill_in
                if self.faults.storm == "function overtaken":
                    self._overtake_in = self.faults.random.randrange(MOST_CALLS)
        if self._kill_in is not None:
            self._kill_in -= 1
            if self._kill_in < 0:
                self._kill_in = None
                raise Killed


class Gateway(NamedTuple):
    """What refuses reports of more than `limit` bytes, of all or of what they are about, until a moment."""

    limit: int
    about: str | None
    until: float


class Reply(NamedTuple):
    """What comes back of a request. `retry_after`: that header, in seconds."""

    status: int
    content: bytes
    retry_after: int | None = None


class Delayed(NamedTuple):
    """A request that arrives later, when nobody waits for its answer."""

    who: str
    kind: str
    arrive: Callable[[], object]


class Network:
    """Everybody's way to the cloud."""

    def __init__(self, cloud: Cloud, pass_time: Callable[[float], None]) -> None:
        self._cloud, self._faults, self.pass_time = cloud, cloud.faults, pass_time
        self._delayed: list[Delayed] = []
        self._gateways: dict[str, Gateway] = {}
        self.busy: set[str] = set()
        self.in_time: set[str] = set()
        self.too_late: set[str] = set()

    def exchange(self, who: str, kind: str, ids: list[str], bearer: str, body: bytes, late: bool = True) -> Reply:
        """Raises requests' own errors where nothing came back. `late`: it may arrive at any time."""

        def carry_out() -> Reply | None:
            return self._carry_out(who, kind, ids, bearer, body)

        if kind in ("status", "result") and self._is_refused_in_between(who, ids[1], len(body)):
            return Reply(403, b"<html>a rule of a gateway</html>")
        if self._faults.strikes("request lost", 0.05):
            raise requests.ConnectionError("the request was lost")
        if late and self._faults.strikes("request delayed", 0.03 if kind == "heartbeat" else 0.08):
            self._delayed.append(Delayed(who, kind, carry_out))
            raise requests.ReadTimeout("nobody answered in time")
        if self._faults.strikes("request doubled", 0.05):
            carry_out()
        self._sent_at = self._faults.now
        answer = carry_out()
        if answer is None or self._faults.strikes("answer lost", 0.06):
            raise requests.ConnectionError("the answer was lost")
        if late and self._faults.strikes("answer late", 0.06 if b'"expires_in"' in answer.content else 0.01):
            self.pass_time(self._faults.random.choice([3, 70, 700, 700]))
        if kind == "heartbeat":
            self._note_arrival(answer.content)
        return answer

    def _is_refused_in_between(self, who: str, about: str, size: int) -> bool:
        """A gateway of that host refuses for a while what is larger than it likes, or whatever is about one thing."""
        if self._faults.strikes("a gateway begins to refuse reports", 0.1):
            limit = self._faults.random.choice([0, 0, 150, 200])
            refused = self._faults.random.choice([None, about])
            until = self._faults.now + self._faults.random.choice([20, 200, 2000])
            self._gateways[who] = Gateway(limit, refused, until)
        gateway = self._gateways.get(who)
        if gateway is None or not self._faults.bad or self._faults.now >= gateway.until:
            return False
        if size <= gateway.limit or gateway.about not in (None, about):
            return False
        self._faults.happened["report refused in between"] += 1
        self._faults.note(f"{who} {about} → 403 from something in between ({size} bytes)")
        return True

    def _note_arrival(self, content: bytes) -> None:
        """Of operations: which came to their agent while they might still run, and which only after that."""
        for command in msgspec.json.decode(content).get("commands", []):
            deadline = command.get("expires_in", 0.0) + self._sent_at
            (self.in_time if self._faults.now <= deadline else self.too_late).add(command["command_id"])

    def late_ones_arrive(self) -> None:
        """Out of order, and nobody waits for their answers any more."""
        self._faults.random.shuffle(self._delayed)
        while self._delayed:
            self._faults.happened["late arrival"] += 1
            self._delayed.pop().arrive()

    def holds_registration(self, who: str) -> bool:
        return any(delayed.who == who and delayed.kind == "register" for delayed in self._delayed)

    def _carry_out(self, who: str, kind: str, ids: list[str], bearer: str, body: bytes) -> Reply | None:
        """None where the function was killed in the middle."""
        endpoint = BY_NAME[NAMES.get(kind, kind)]
        named = dict(zip(("worker_id", "deployment_id" if kind == "status" else "command_id"), ids, strict=False))
        call = Call(endpoint, named, {"authorization": bearer}, {}, body, self._faults.now)
        try:
            survived, answer = self._cloud.run(kind, lambda: HANDLERS[kind](authenticated(call)))
        except (ApiError, TransactionConflict) as error:
            refused = error if isinstance(error, ApiError) else ApiError("UNAVAILABLE", "conflicts without end")
            self._faults.note(f"{who} {kind} {' '.join(ids[1:])} → {refused.status} {refused.error_code}")
            content = msgspec.json.encode({"error_code": refused.error_code, "message": refused.message})
            return Reply(refused.status, content, refused.retry_after)
        if not survived:
            return None
        self._note(who, kind, ids, body, answer)
        return Reply(200, msgspec.json.encode(answer))

    def _note(self, who: str, kind: str, ids: list[str], body: bytes, answer: Any) -> None:
        if isinstance(answer, ShortHeartbeatAnswer):
            self._faults.happened["short heartbeat answered with a demand" if answer.full else "short heartbeat"] += 1
        elif kind == "heartbeat":
            types = [msgspec.to_builtins(each)["type"] for each in answer.commands]
            self._faults.happened.update(f"sent: {each}" for each in types)
            self._faults.happened["an answer full of commands"] += len(types) == MAX_COMMANDS
            told = [f"{t} {c.command_id}" for t, c in zip(types, answer.commands, strict=True)]
            if not told:
                return
            self._faults.note(f"{who} heartbeat → {', '.join(told)}")
        else:
            said = msgspec.json.decode(body)
            words = [who, kind, *ids[1:], said.get("status"), said.get("error_code")]
            outcome = f"worker {answer.worker_id}, session {answer.session}" if kind == "register" else answer.status
            applied = "" if kind == "register" or answer.applied else " (not applied)"
            self._faults.note(f"{' '.join(str(each) for each in words if each)} → {outcome}{applied}")


class Line(FakeServer):
    """An agent's end of the network, in the place of the agent tests' fake server."""

    def __init__(self, network: Network, who: str) -> None:
        super().__init__()
        self._network, self._who = network, who

    def exchange(self, request: requests.PreparedRequest) -> requests.Response:
        self.requests.append(request.path_url)
        parts = request.path_url.strip("/").split("/")
        body = request.body if isinstance(request.body, bytes) else b""
        bearer = str(request.headers.get("Authorization", ""))
        self._network.busy.add(self._who)
        try:
            reply = self._network.exchange(self._who, parts[-1], parts[2:-1:2], bearer, body)
        finally:
            self._network.busy.discard(self._who)
        response = requests.Response()
        response.status_code, response.raw = reply.status, io.BytesIO(reply.content)
        if reply.retry_after is not None:
            response.headers["Retry-After"] = str(reply.retry_after)
        return response
