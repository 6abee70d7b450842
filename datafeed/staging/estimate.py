"""What a run will need, as far as a plan can tell before it begins."""

from contextlib import closing
from typing import Any

from datafeed.sources import open_source, scheme
from datafeed.staging.append import Extension, extended
from datafeed.staging.commit.feed_folder import TIMEOUT_S, Folder
from datafeed.staging.plan.plan import Plan
from datafeed.staging.task.prefetch import prefetch_bytes

__all__ = ["extension_facts", "plan_facts", "task_memory_bytes"]

_MIB = 1 << 20
_BASE_BYTES = 64 * _MIB
"""Python, numpy, h5py: 54 MiB measured."""
_CLIENT_BYTES = {"native": 32 * _MIB, "webhdfs": 32 * _MIB, "pydoop": 320 * _MIB}
"""What reading HDFS adds: 28 MiB by hdfs-native; a JVM with a heap of 256 MiB by pydoop."""
_CHUNKS_HELD = 2


def plan_facts(plan: Plan) -> dict[str, Any]:
    """Return what ``--dry-run`` shows, for JSON; a plan that was just made.

    Sizes of the feed and memory are estimates from the first samples of the first shard.
    """
    table = plan.splits.shards
    split_bytes = [sum(shard.n_bytes for shard in split.shards) for split in plan.splits]
    return {
        "feed_id": plan.feed_id,
        "format": plan.format,
        "fields": {field.name: str(field) for field in plan.schema},
        "samples_per_chunk": plan.samples_per_chunk,
        "chunk_bytes": plan.samples_per_chunk * plan.sample_bytes,
        "shards": sum(not shard.start for shard in table),
        "bytes": sum(split_bytes),
        "parts": len(plan.splits),
        "largest_split_bytes": max(split_bytes),
        "estimated_samples": plan.feed_bytes // max(1, plan.sample_bytes),
        "estimated_feed_bytes": plan.feed_bytes,
        "estimated_task_memory_mib": -(-task_memory_bytes(plan) // _MIB),
    }


def extension_facts(plan: Plan, extension: Extension) -> dict[str, Any]:
    """Return what ``--dry-run`` shows with ``--append`` or ``--refresh``: the feed as it would be.

    Raises:
        StagingError, ConfigError, FormatError: as the run itself would.
    """
    with closing(open_source(plan.to, plan.hdfs_client, timeout_s=TIMEOUT_S)) as source:
        existing = Folder(plan.to, source).existing()
    if existing is None:
        return plan_facts(plan)
    whole = extended(plan, existing, extension)
    kept = {part.file for part in existing.parts} & set(whole.part_names)
    new = [split for i, split in enumerate(whole.splits) if whole.part_name(i) not in kept]
    facts = plan_facts(whole)
    del facts["estimated_samples"], facts["estimated_feed_bytes"]  # known of what was named only
    return {
        **facts,
        "standing_parts": len(existing.parts),
        "standing_samples": existing.n_samples,
        "new_parts": len(new),
        "new_bytes": sum(shard.n_bytes for split in new for shard in split.shards),
        "replaced_parts": len(existing.parts) - len(kept),
    }


def task_memory_bytes(plan: Plan) -> int:
    """Estimate the memory of one task's process: two chunks, small shards, and a constant.

    It does not depend on the size of large shards: formats read one sample after another, and a
    part keeps the chunk that is being filled. A transform may of course hold what it likes.
    """
    shards = plan.splits.shards
    is_remote = scheme(shards.url(0)) == "hdfs"
    is_hdfs = is_remote or scheme(plan.to) == "hdfs"
    client = _CLIENT_BYTES.get(plan.hdfs_client, _CLIENT_BYTES["native"]) if is_hdfs else 0
    chunk = plan.samples_per_chunk * max(1, plan.sample_bytes)
    prefetched = prefetch_bytes(shards.sizes) if is_remote else 0
    return _BASE_BYTES + client + prefetched + _CHUNKS_HELD * chunk
