"""Pieces → outcomes on Ray Data: one actor a worker, a bounded number of shards under way, whichever is done comes first.

A worker that dies is started anew by Ray and its shards are done again; outcomes may therefore come twice, never not at all.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from mmr5.errors import ConfigError, EngineError, MMR5Error, missing_extra
from mmr5.scale.shards import Outcome, Shard
from mmr5.scale.worker import Job, Worker, run_fatal
from mmr5.settings import WorkerSettings

REACHED_SECONDS = 5.0
"""How long the head of a cluster may take to answer a connection."""
QUEUED = 2
"""Pieces that a worker holds at once: the one it does and the next."""
STORE_BYTES = 256 * 2**20
"""Ray's object store where this process starts Ray: shards and outcomes are small."""
OUTCOME_BYTES = 64 * 2**20
"""Most bytes of shards and outcomes under way; beyond them workers wait for the writer."""


class Stage:
    """A worker as Ray Data calls it: a column of shards in, a column of outcomes out."""

    def __init__(self, job: Job) -> None:
        self._fatal: Outcome | None = None
        try:
            self._worker = Worker(job)
        except MMR5Error as error:
            self._fatal = run_fatal(error)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[str]]:
        """Do the shards of a batch."""
        done = [self._fatal or self._worker.run(Shard.from_json(str(text))) for text in batch["piece"]]
        return {"outcome": [outcome.to_json() for outcome in done]}


def import_ray() -> Any:
    """The ``ray`` module, with its data library.

    Raises:
        MissingExtraError: it is not installed.
    """
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise missing_extra("ray", "ray", "rerank with several workers") from error
    return ray


@contextmanager
def cluster(workers: WorkerSettings) -> Iterator[Any]:
    """Ray with room for the workers: the cluster at the address, or one on this machine that ends with the block.

    Raises:
        ConfigError: no cluster answers at the address, or it has too few cores or GPUs.
        MissingExtraError: Ray is not installed.
    """
    ray = import_ray()
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR, "configure_logging": True}
    if workers.address is None:
        cores = max(os.cpu_count() or 1, int(-(-workers.number * workers.cpus // 1)))
        options.update(num_cpus=cores, include_dashboard=False, object_store_memory=STORE_BYTES)
    else:
        _check_reached(workers.address)
        options["address"] = workers.address
    try:
        ray.init(**options)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise ConfigError(f"no Ray at {workers.address or 'this machine'}: {error}") from error
    try:
        there = ray.cluster_resources()
        for name, needed in (("CPU", workers.number * workers.cpus), ("GPU", workers.number * workers.gpus)):
            if there.get(name, 0.0) < needed:
                raise ConfigError(
                    f"{workers.number} workers need {needed:g} {name}s, and the cluster has {there.get(name, 0.0):g}: "
                    "ask for fewer workers, or for less of it each"
                )
        yield ray
    finally:
        ray.shutdown()


def _check_reached(address: str) -> None:
    """Refuse an address where nobody listens; Ray itself would try for minutes.

    Raises:
        ConfigError: nobody listens there, or it is no address.
    """
    if address == "auto":
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=REACHED_SECONDS).close()
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"no Ray at {address!r} ({error}): give auto, HOST:6379 or ray://HOST:10001 of a running cluster"
        ) from error


def outcomes(ray: Any, job: Job, work: Sequence[Shard], workers: WorkerSettings) -> Iterator[Outcome]:
    """What comes of each piece, in the order in which they are done.

    Raises:
        EngineError: Ray gave up.
    """
    _quiet(ray)
    items = [{"piece": piece.to_json()} for piece in work]
    stage = ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
        Stage,
        fn_constructor_args=(job,),
        batch_size=None,
        batch_format="numpy",
        compute=ray.data.ActorPoolStrategy(size=min(workers.number, len(items)), max_tasks_in_flight_per_actor=QUEUED),
        num_cpus=workers.cpus,
        num_gpus=workers.gpus or None,
    )
    try:
        for batch in stage.iter_batches(prefetch_batches=0, batch_size=None, batch_format="numpy"):
            for text in batch["outcome"]:
                yield Outcome.from_json(str(text))
    except (ray.exceptions.RayError, RuntimeError) as error:
        raise EngineError(
            f"Ray gave up: {str(error).strip().splitlines()[-1]}. What was ranked is kept: run again with --resume"
        ) from error


def _quiet(ray: Any) -> None:
    """No progress bars and no logs on stderr; a bound on what is under way."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.enable_operator_progress_bars = False
    context.max_consecutive_actor_init_deaths = -1
    context.execution_options.verbose_progress = False
    context.execution_options.preserve_order = False
    context.execution_options.resource_limits = ray.data.ExecutionResources(object_store_memory=OUTCOME_BYTES)
    for name in ("ray.data", "ray"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
