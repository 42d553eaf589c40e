"""Between the real agent and the real routes: a network that loses, doubles and delays, and killed functions."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

import msgspec
import requests

from chalicelib.contract.endpoints import BY_NAME
from chalicelib.contract.errors import ApiError
from chalicelib.routes import worker as routes
from chalicelib.routes.http import Call, authenticated
from tests.agent.fake_server import FakeServer
from tests.server.database import Killed, Recorder

HANDLERS = {"register": routes.register, "heartbeat": routes.beat, "status": routes.report, "result": routes.result}
NAMES = {"status": "report"}
MOST_CALLS = 12


@dataclass
class Weather:
    """How often what goes wrong, while it does; `happened` counts."""

    random: Random
    bad: bool = True
    happened: Counter[str] = field(default_factory=Counter)

    def strikes(self, fault: str, chance: float) -> bool:
        if not self.bad or self.random.random() >= chance:
            return False
        self.happened[fault] += 1
        return True


class Network(FakeServer):
    """In the place of the agent tests' fake server."""

    def __init__(self, database: Recorder, weather: Weather, clock: Callable[[], float]) -> None:
        super().__init__()
        self._database, self._weather, self._clock = database, weather, clock
        self._delayed: list[requests.PreparedRequest] = []

    def exchange(self, request: requests.PreparedRequest) -> requests.Response:
        if self._weather.strikes("request lost", 0.06):
            raise requests.ConnectionError("the request was lost")
        if self._weather.strikes("request delayed", 0.04):
            self._delayed.append(request)
            raise requests.ReadTimeout("nobody answered in time")
        if self._weather.strikes("request doubled", 0.06):
            self._carry_out(request)
        answer = self._carry_out(request)
        if answer is None or self._weather.strikes("answer lost", 0.08):
            raise requests.ConnectionError("the answer was lost")
        return answer

    def late_ones_arrive(self) -> None:
        """Out of order, and nobody waits for their answers any more."""
        self._weather.random.shuffle(self._delayed)
        while self._delayed:
            self._carry_out(self._delayed.pop())

    def _carry_out(self, request: requests.PreparedRequest) -> requests.Response | None:
        """None where the function was killed in the middle."""
        with cut_off(self._database, self._weather) as survived:
            status, body = self._call(request)
        if not survived:
            return None
        response = requests.Response()
        response.status_code, response.raw = status, io.BytesIO(body)
        return response

    def _call(self, request: requests.PreparedRequest) -> tuple[int, bytes]:
        parts = request.path_url.strip("/").split("/")
        kind = parts[-1]
        endpoint = BY_NAME[NAMES.get(kind, kind)]
        ids = dict(zip(("worker_id", "deployment_id" if kind == "status" else "command_id"), parts[2::2], strict=False))
        headers = {"authorization": request.headers.get("Authorization", "")}
        body = request.body if isinstance(request.body, bytes) else b""
        try:
            answer = HANDLERS[kind](authenticated(Call(endpoint, ids, headers, {}, body, self._clock())))
        except ApiError as error:
            return error.status, msgspec.json.encode({"error_code": error.error_code, "message": error.message})
        return 200, msgspec.json.encode(answer)


class cut_off:  # a context manager, named as it reads
    """What runs inside may be killed between any two of its database calls. Truthy if it was not."""

    def __init__(self, database: Recorder, weather: Weather) -> None:
        self._database, self._survived = database, True
        if weather.strikes("function killed", 0.08):
            database.kill_after = weather.random.randrange(MOST_CALLS)

    def __enter__(self) -> cut_off:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> bool:
        self._database.kill_after = None
        self._survived = not isinstance(error, Killed)
        return isinstance(error, Killed)

    def __bool__(self) -> bool:
        return self._survived
