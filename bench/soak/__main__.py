"""`make soak`: python -m bench.soak [--agents 1000] [--minutes 30] [--kill] [--every SECONDS]

The server's data is fresh. A summary is printed; exit code 1 where a request was answered with an error, where anything
that was accepted did not come about, or where the backup of the middle cannot be restored.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import resource
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from bench.servers import ROOT, Muster
from bench.soak import memory_samples
from bench.soak.async_http import Trouble, Unanswered
from bench.soak.demands import Demands
from bench.soak.memory_samples import MemorySample
from bench.soak.simulated_agent import SimulatedAgent

FOLDER = ROOT / "build" / "soak"
HEARTBEAT_SECONDS = 30
SAMPLE_SECONDS = 30.0
SETTLE_SECONDS = 180.0
"""After the last demand: what was accepted has to come about within this time."""
JOINING = 16
"""Agents that register beside each other."""
KILL_AT, BACKUP_AT = 0.4, 0.5
"""Parts of the whole time."""


class SoakServer(Muster):
    """A control plane that wants a heartbeat every 30 seconds, as in AWS."""

    def environment(self) -> dict[str, str]:
        return {**super().environment(), "MUSTER_HEARTBEAT": str(HEARTBEAT_SECONDS)}

    @property
    def data(self) -> Path:
        return self.folder / "data"


class Soak:
    """One run. All that its parts share is here. What `folder` had is removed."""

    def __init__(self, options: argparse.Namespace, say: Callable[[str], None], folder: Path = FOLDER) -> None:
        self._options, self._say = options, say
        self._seconds = 60.0 * options.minutes
        self._luck = random.Random(options.seed)
        self._folder = folder
        shutil.rmtree(self._folder, ignore_errors=True)
        self.server = SoakServer(self._folder)
        self._processes = 1
        self.trouble = Trouble()
        self.memory: list[MemorySample] = []
        self.failures: list[str] = []
        self._agents: list[SimulatedAgent] = []

    async def run(self) -> None:
        await asyncio.to_thread(self.server.start)
        try:
            await self._soak()
        finally:
            for agent in self._agents:
                agent.close()
            await asyncio.to_thread(self.server.stop)

    async def _soak(self) -> None:
        await self._join()
        self._began = time.monotonic()
        running = [asyncio.create_task(agent.run()) for agent in self._agents]
        # Heartbeats that begin together would stay together.
        demands = Demands(self.server.port, self.trouble, [agent.identity for agent in self._agents], self._luck)
        sampling = asyncio.create_task(self._sample())
        parts: list[Coroutine[Any, Any, None]] = [self._ask(demands), self._back_up()]
        if self._options.kill:
            parts.append(self._kill())
        await asyncio.gather(*parts)
        await self._settle(demands)
        for task in [sampling, *running]:
            task.cancel()
        results = await asyncio.gather(sampling, *running, return_exceptions=True)
        ended = [result for result in results if isinstance(result, Exception)]
        self.failures += [f"a task ended: {error!r}" for error in ended[:10]]
        demands.close()

    async def _join(self) -> None:
        limit = asyncio.Semaphore(JOINING)
        self._agents = [
            SimulatedAgent(number, self.server.port, self.trouble, random.Random(self._luck.random()))
            for number in range(self._options.agents)
        ]

        async def join(agent: SimulatedAgent) -> None:
            async with limit:
                await agent.register()
                await agent.beat()

        began = time.monotonic()
        await asyncio.gather(*(join(agent) for agent in self._agents))
        self._say(f"{len(self._agents)} agents registered in {time.monotonic() - began:.0f} s")

    async def _until(self, part: float) -> None:
        await asyncio.sleep(max(0.0, self._began + part * self._seconds - time.monotonic()))

    async def _ask(self, demands: Demands) -> None:
        while time.monotonic() < self._began + self._seconds:
            await demands.ask()
            await asyncio.sleep(self._options.every)

    async def _kill(self) -> None:
        """As a crash ends the server; it starts again on the same data and port."""
        await self._until(KILL_AT)
        self._say("serve is killed")
        self.trouble.away = True
        self.trouble.kills += 1
        await asyncio.to_thread(self.server.kill)
        seconds = await asyncio.to_thread(self.server.start)
        self._processes += 1
        self._say(f"serve answers again after {seconds:.1f} s")
        await asyncio.sleep(2.0)  # for what was sent before the kill
        self.trouble.away = False

    async def _back_up(self) -> None:
        """Beside the running server; the backup has to be restorable."""
        await self._until(BACKUP_AT)
        file, restored = self._folder / "backup.db", self._folder / "restored"
        for words in (
            ["backup", str(file), "--data", str(self.server.data)],
            ["restore", str(file), "--data", str(restored)],
        ):
            done = await asyncio.to_thread(self._command, words)
            if done.returncode:
                self.failures.append(f"{words[0]} failed: {done.stderr.strip()[-300:]}")
                return
            self._say(f"{words[0]}: {done.stderr.strip() or f'{file.stat().st_size / 2**20:.1f} MiB'}")

    def _command(self, words: Sequence[str]) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "infra.local", *words]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)

    async def _sample(self) -> None:
        pause = min(SAMPLE_SECONDS, self._seconds / 20)
        while True:
            if not self.trouble.away:
                at, resident = time.monotonic() - self._began, self.server.memory()
                items = await asyncio.to_thread(items_in, self.server.data / "muster.sqlite3")
                self.memory.append(MemorySample(at, resident, self._processes, items))
                self._say(
                    f"{at / 60:5.1f} min  {resident / 2**20:6.1f} MiB  {items} items  {self.trouble.answers} answers  "
                    f"{sum(self.trouble.errors.values())} errors"
                )
            await asyncio.sleep(pause)

    async def _settle(self, demands: Demands) -> None:
        """Wait until all that was accepted came about; what has not after the limit is lost."""
        losses = ["the deployments could not be listed"]
        until = time.monotonic() + SETTLE_SECONDS
        while losses and time.monotonic() < until:
            held = {key: held.status for agent in self._agents for key, held in agent.held.items()}
            with contextlib.suppress(Unanswered):
                losses = demands.losses(await demands.listed(), held)
            await asyncio.sleep(2.0 if losses else 0.0)
        self.failures += losses
        wanted = sum(demand.wanted == "running" for demand in demands.accepted.values())
        self._say(f"{demands.asked} demands, {len(demands.accepted)} deployments, {wanted} of them wanted running")

    def summary(self) -> list[str]:
        errors = sum(self.trouble.errors.values())
        lines = [
            f"agents: {len(self._agents)}; answers: {self.trouble.answers}; errors: {errors}; "
            f"lost: {len(self.failures)}; sent again after the kill: {self.trouble.interruptions}",
            memory_samples.text(self.memory),
        ]
        lines += [f"error: {count} x {text}" for text, count in self.trouble.errors.most_common(20)]
        return lines + [f"lost: {text}" for text in self.failures[:50]]

    def failed(self) -> bool:
        return bool(self.failures or self.trouble.errors)


def items_in(database: Path) -> int:
    """Returns how many items a database has. Its server may run."""
    with contextlib.closing(sqlite3.connect(f"file:{quote(str(database))}?mode=ro", uri=True)) as connection:
        return int(connection.execute("SELECT count(*) FROM items").fetchone()[0])


def open_files(agents: int) -> None:
    """A connection is a file, here and in the server, which inherits the limit. Raises SystemExit if it is too low."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = agents + 256
    if soft < needed:
        if hard != resource.RLIM_INFINITY and hard < needed:
            raise SystemExit(f"{agents} agents need {needed} open files, and the limit is {hard}: take fewer AGENTS")
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')}  {text}", flush=True)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description="Simulated agents against a real serve.")
    parser.add_argument("--agents", type=int, default=1000)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--every", type=float, default=2.0, help="seconds between two demands of operators")
    parser.add_argument("--kill", action="store_true", help="kill the server once and start it again")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    open_files(options.agents)
    soak = Soak(options, say)
    asyncio.run(soak.run())
    print("", *soak.summary(), "failed" if soak.failed() else "passed", sep="\n")
    return 1 if soak.failed() else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
