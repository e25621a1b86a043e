"""Training on several devices and machines: who takes part, which pairs each draws, and what they must agree on.

Every worker is a process of `fire_tf.train` with the same config, data and run folder. An update is made of the
gradients of one global batch, of which each replica (a device of a worker) has an equal share. The chief alone writes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping

import tensorflow as tf
from tensorflow.python.distribute.cluster_resolver.slurm_cluster_resolver import expand_tasks_per_node

from fire_tf.data.dataset import Pairs
from fire_tf.files.doubts import cast_doubt
from fire_tf.files.errors import InputError

# SLURM's workers listen on one chosen by the job's number, and those that follow.
_PORTS = range(12_000, 32_000)


def join_workers(kind: str, environment: Mapping[str, str] = os.environ) -> tf.distribute.Strategy:
    """The strategy that a config's ``distribute`` names: "none", "mirrored" or "multi_worker".

    Waits until all workers are there. To be called before TensorFlow makes anything.

    Raises:
        InputError: "multi_worker" where neither TF_CONFIG nor SLURM's variables say who the workers are.
    """
    if kind == "none":
        return tf.distribute.get_strategy()
    if kind == "mirrored":
        devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        if len(devices) == 1:
            cast_doubt(f"distribute: mirrored: there is one device alone, {devices[0].name}")
        return tf.distribute.MirroredStrategy([device.name for device in devices])
    strategy = tf.distribute.MultiWorkerMirroredStrategy(cluster_resolver=_resolver(environment))
    # No batch here is the last one, smaller than the others: shapes stay known, and nobody asks the others before each.
    strategy.extended.experimental_enable_get_next_as_optional = False
    return strategy


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process is the one that writes."""
    return bool(strategy.extended.should_checkpoint)


def share_batches(
    strategy: tf.distribute.Strategy, pairs: Pairs, batch_size: int, start: int = 0, take: int | None = None
) -> tf.data.Dataset:
    """Global batches of ``batch_size`` pairs from element number ``start`` on, without end.

    Each worker draws its own share alone. With ``take`` the same so many batches again and again.

    Raises:
        InputError: the replicas cannot share a batch equally.
    """
    replicas = strategy.num_replicas_in_sync
    if batch_size % replicas:
        raise InputError(
            f"batch_size {batch_size}: expected a multiple of {replicas}, the devices that share a batch"
        )

    def own(context: tf.distribute.InputContext) -> tf.data.Dataset:
        workers = context.num_input_pipelines
        batches = pairs.batches(batch_size // replicas, start, share=(context.input_pipeline_id, workers))
        return batches if take is None else batches.take(take * replicas // workers).cache().repeat()

    if replicas == 1:
        return own(tf.distribute.InputContext())
    return strategy.distribute_datasets_from_function(own)


def any_worker(strategy: tf.distribute.Strategy, *flags: bool) -> list[bool]:
    """Whether each flag is set on any of the workers, all of which wait for each other here."""
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return list(flags)
    mine = tf.constant(flags, tf.int32)
    values = strategy.experimental_distribute_values_from_function(lambda _: mine)
    return [bool(total) for total in strategy.reduce(tf.distribute.ReduceOp.SUM, values, axis=None)]


def _resolver(environment: Mapping[str, str]) -> tf.distribute.cluster_resolver.ClusterResolver:
    if "TF_CONFIG" in environment:
        try:
            told = json.loads(environment["TF_CONFIG"])
            _ = told["task"]["index"], told["cluster"]
        except (ValueError, KeyError, TypeError):
            expected = '{"cluster": {"worker": ["HOST:PORT", ...]}, "task": {"type": "worker", "index": 0}}'
            raise InputError(f"TF_CONFIG: expected {expected}") from None
        return tf.distribute.cluster_resolver.TFConfigClusterResolver()
    if "SLURM_STEP_NODELIST" not in environment:
        raise InputError(
            "distribute: multi_worker: neither TF_CONFIG nor SLURM's variables (srun's) say who the workers are"
        )
    tasks = expand_tasks_per_node(environment["SLURM_STEP_TASKS_PER_NODE"])
    # It would ask nvidia-smi for GPUs, and fail without: told of one a task, it says who the workers are all the same.
    resolver = tf.distribute.cluster_resolver.SlurmClusterResolver(
        port_base=_PORTS[int(environment.get("SLURM_JOB_ID", "0")) % len(_PORTS)],
        gpus_per_node=max(tasks),
        gpus_per_task=1,
        auto_set_gpu=False,
    )
    cluster = resolver.cluster_spec()
    gpus = tf.config.list_physical_devices("GPU")
    if "SLURM_GPUS_PER_TASK" not in environment:  # else each task sees its own alone
        gpus = gpus[int(environment["SLURM_LOCALID"]) :: tasks[int(environment["SLURM_NODEID"])]]
        tf.config.set_visible_devices(gpus, "GPU")
    return tf.distribute.cluster_resolver.SimpleClusterResolver(
        cluster,
        task_type="worker",
        task_id=resolver.task_id,
        num_accelerators={"GPU": len(gpus)},
        rpc_layer="grpc",
    )
