"""All that a gateway knows, wired together: routes, trust, limits, usage, metrics, and the way to the control plane.

    PlaneLink ──► RouteTable, Trust, ticket keys        proxy ──► Limits, Ledger, Telemetry, AccessLog
                     │                                               │
                     └── a change: Limits and Telemetry forget ◄─────┘

It opens no port and carries no request: `gateway_process` adds tunnels, the proxy, and the server.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Mapping

from muster.gateway.access_lines import AccessLog
from muster.gateway.config import GatewayConfig
from muster.gateway.data_dir import DataDir
from muster.gateway.ledger import Ledger
from muster.gateway.limits import Limits
from muster.gateway.plane_client import PlaneClient, Refused
from muster.gateway.plane_link import PlaneLink
from muster.gateway.route_file import Kept, RouteFile
from muster.gateway.route_table import RouteTable, Tables
from muster.gateway.telemetry import Telemetry
from muster.gateway.trust import State, Trust

Observer = Callable[[], object]


def write_to_stdout(text: str) -> None:
    """Raises OSError or ValueError if nobody reads."""
    sys.stdout.write(text)
    sys.stdout.flush()


class Core:
    """Raises DataError if the folder cannot be used. `wall` is epoch seconds; `write` gets the lines of the access log.

    `ticket_keys` are by version, as of the last registration. `is_revoked` is set once the control plane has refused
    the gateway's key, and `refusal` is how.
    """

    def __init__(
        self,
        config: GatewayConfig,
        wall: Callable[[], float] = time.time,
        write: Callable[[str], object] = write_to_stdout,
    ) -> None:
        self.config = config
        self.ticket_keys: Mapping[int, bytes] = {}
        self._observers: list[Observer] = []
        self._data = DataDir(config.data)
        try:
            self.ledger = Ledger(config.data / "ledger.sqlite3", wall)
        except BaseException:
            self._data.close()
            raise
        self.trust = Trust(config.offline_for)
        self.table = RouteTable(self.trust)
        self.limits = Limits(self.ledger.tokens_of_day)
        self.telemetry = Telemetry(self.table.is_known)
        self.telemetry.observe_plane(self.trust.away_for, lambda: self.trust.state is State.REACHABLE)
        self.access_log = AccessLog(write)
        self.is_revoked = asyncio.Event()
        self.refusal: Refused | None = None
        self.table.on_change(self._routes_changed)
        self.link = PlaneLink(
            url=config.url,
            selector=config.selector_text,
            make_client=lambda: PlaneClient(config.control_plane, config.key),
            table=self.table,
            trust=self.trust,
            file=RouteFile(config.data / "routes.json", config),
            usage=self.ledger,
            on_ticket_keys=self._ticket_keys_changed,
            on_revoked=self._revoked,
            wall=wall,
        )

    def on_ticket_keys(self, observer: Observer) -> None:
        """Call `observer` after the ticket keys have changed, on the event loop. It must not raise."""
        self._observers.append(observer)

    def start(self) -> Kept | None:
        """Begin on the running event loop, without waiting for anybody. Returns the routes that an earlier process
        kept.
        """
        kept = self.link.restore()
        self.ledger.start()
        self.access_log.start()
        self.link.start()
        return kept

    async def stop(self) -> None:
        """End after the last request: report what is left, say goodbye, and write what is in memory."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, self.ledger.flush)
        await self.link.stop()
        await loop.run_in_executor(None, self.close)

    def close(self) -> None:
        """Release the folder. Enough for a gateway that was never started."""
        self.ledger.close()
        self.access_log.stop()
        self._data.close()

    def _routes_changed(self, tables: Tables) -> None:
        self.limits.keep(tables.key_ids)
        self.telemetry.keep_circuits(tables.deployment_ids)

    def _revoked(self, error: Refused) -> None:
        self.refusal = error
        self.is_revoked.set()

    def _ticket_keys_changed(self, keys: Mapping[int, bytes]) -> None:
        self.ticket_keys = keys
        for observer in self._observers:
            observer()
