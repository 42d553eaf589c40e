"""A control plane's heartbeats as many would write them: FastAPI, SQLAlchemy, and SQLite with WAL and full syncs.

    DATABASE=/path/to/file uvicorn bench.fastapi_server:app

A worker registers, sends heartbeats with its token, and is listed. Nothing else is here.
"""

import os
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import Depends, FastAPI, Header, HTTPException
from pydantic import BaseModel
from sqlalchemy import JSON, event, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

engine = create_async_engine(f"sqlite+aiosqlite:///{os.environ['DATABASE']}")
sessions = async_sessionmaker(engine, expire_on_commit=False)


@event.listens_for(engine.sync_engine, "connect")
def configure(connection: Any, record: object) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")


class Base(DeclarativeBase):
    pass


class Worker(Base):
    __tablename__ = "workers"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    token: Mapped[str]
    status: Mapped[str]
    last_heartbeat: Mapped[float]
    gpu_info: Mapped[dict[str, Any]] = mapped_column(JSON)
    gpu_usage: Mapped[list[dict[str, Any]]] = mapped_column(JSON)
    active_deployments: Mapped[list[str]] = mapped_column(JSON)


class Registration(BaseModel):
    name: str
    gpu_info: dict[str, Any]


class Heartbeat(BaseModel):
    status: str
    gpu_usage: list[dict[str, Any]]
    active_deployments: list[str]


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    yield


app = FastAPI(lifespan=lifespan)


async def session() -> AsyncIterator[AsyncSession]:
    async with sessions() as opened:
        yield opened


@app.post("/api/workers/register")
async def register(body: Registration, db: AsyncSession = Depends(session)) -> dict[str, Any]:
    worker = Worker(name=body.name, token=secrets.token_hex(32), status="online", last_heartbeat=time.time())
    worker.gpu_info, worker.gpu_usage, worker.active_deployments = body.gpu_info, [], []
    db.add(worker)
    await db.commit()
    return {"worker_id": worker.id, "token": worker.token}


@app.post("/api/workers/{worker_id}/heartbeat")
async def heartbeat(
    worker_id: int, body: Heartbeat, authorization: str = Header(), db: AsyncSession = Depends(session)
) -> dict[str, Any]:
    worker = await db.get(Worker, worker_id)
    if worker is None:
        raise HTTPException(404)
    if not secrets.compare_digest(authorization, f"Bearer {worker.token}"):
        raise HTTPException(401)
    worker.status, worker.last_heartbeat = body.status, time.time()
    worker.gpu_usage, worker.active_deployments = body.gpu_usage, body.active_deployments
    await db.commit()
    return {"commands": [], "next_heartbeat_in": 30}


@app.get("/api/workers")
async def workers(limit: int = 100, after: int = 0, db: AsyncSession = Depends(session)) -> dict[str, Any]:
    found = (await db.scalars(select(Worker).where(Worker.id > after).order_by(Worker.id).limit(limit))).all()
    fields = ("id", "name", "status", "last_heartbeat", "gpu_info", "gpu_usage", "active_deployments")
    listed = [{name: getattr(worker, name) for name in fields} for worker in found]
    return {"workers": listed, "next": found[-1].id if len(found) == limit else None}
