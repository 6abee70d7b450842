"""One run: the folder is prepared, an engine does the tasks, ``feed.json`` is written last."""

import platform
from collections.abc import Mapping
from tempfile import gettempdir
from typing import Any

from datafeed._version import __version__
from datafeed.errors import DamagedError, StagingError
from datafeed.feed.manifest import Manifest
from datafeed.feed.writer.part_writer import hdf5_version, write_virtual
from datafeed.sources import join, local_path
from datafeed.staging.append import existing_records
from datafeed.staging.commit.feed_folder import VIRTUAL_FILE, Folder, Record
from datafeed.staging.commit.quarantine import require_few
from datafeed.staging.engines import Engine, Job
from datafeed.staging.engines.hadoop.yarn import YarnClient
from datafeed.staging.plan.plan import Plan, differences
from datafeed.staging.run_progress import RunProgress
from datafeed.staging.task.scratch import clear_orphans, scratch_folder

__all__ = ["make_feed"]


def make_feed(
    engine: Engine,
    plan: Plan,
    folder: Folder,
    workers: int | None,
    progress: bool,
    base: Manifest | None,
) -> Manifest:
    """Run the tasks that are still to be done, and write the feed.

    Args:
        engine: Runs them.
        plan: Of the whole feed.
        folder: Of the feed.
        workers: Tasks at a time.
        progress: Show it.
        base: The feed that stands there and grows; None: there is none.
    """
    existing = existing_records(plan, base, folder) if base else {}
    todo = _prepare(plan, folder, existing)
    facts: dict[str, Any] = {}
    with RunProgress(plan, todo, f"stage ({engine.name})", progress) as reported:
        job = Job(plan=plan, folder=folder, splits=todo, workers=workers, progress=reported)
        try:
            facts = engine.run(job) if todo else {}
        finally:
            clear_orphans(local_path(folder.tmp) or gettempdir())
    return _finish(plan, folder, engine.name, facts, existing)


def _prepare(plan: Plan, folder: Folder, existing: Mapping[str, Record]) -> list[int]:
    """Make the folders, write the plan; tell which splits are still to be done."""
    begun = folder.plans()
    others = folder.holds_other_files()
    if others and not begun and not existing:
        raise StagingError(
            f"{folder.url}: holds other files ({others[0]}); give a new or empty folder"
        )
    folder.claim()  # before anything of a run that may still be at it is touched
    _end_earlier(folder)
    done = folder.done()
    kept = set(_sound_parts(plan, folder, {**done, **existing}))
    lost = set(existing) - kept
    if lost:
        raise DamagedError(f"{folder.url}: {min(lost)} is missing or cut; stage the feed again")
    if done and begun and not _shares_parts(plan, done):
        found = differences(plan.content(), begun[0].content())
        raise StagingError(
            f"{folder.url}: holds {len(done)} parts of another unfinished run "
            f"({'; '.join(found)}); give another --to, or delete it first"
        )
    for name in set(done) - kept - set(existing):
        folder.forget(name)
    folder.make()
    folder.write_plan(plan)
    return [i for i in range(len(plan.splits)) if plan.part_name(i) not in kept]


def _shares_parts(plan: Plan, done: Mapping[str, Record]) -> bool:
    ours = {plan.split_digest(i) for i in range(len(plan.splits))}
    return any(record.digest in ours for record in done.values())


def _end_earlier(folder: Folder) -> None:
    """Kill the YARN application of a run that was killed, before it can write any more."""
    noted = folder.noted_application()
    if noted is not None:
        with scratch_folder() as scratch:
            client = YarnClient(scratch)
            is_id = noted.startswith("application_")
            for application in [noted] if is_id else client.tagged(noted):
                client.kill(application)
        folder.forget_application()


def _sound_parts(plan: Plan, folder: Folder, done: Mapping[str, Record]) -> dict[str, Record]:
    """Parts that are committed, made as this plan makes them, and there in full."""
    if not done:
        return {}
    sizes = folder.part_sizes()
    wanted = {plan.part_name(i): plan.split_digest(i) for i in range(len(plan.splits))}
    return {
        name: done[name]
        for name, digest in wanted.items()
        if name in done
        and done[name].digest == digest
        and sizes.get(name) == done[name].entry.bytes
    }


def _finish(
    plan: Plan, folder: Folder, engine: str, facts: dict[str, Any], existing: Mapping[str, Record]
) -> Manifest:
    """Write ``feed.json``, last, and clean up."""
    parts = _sound_parts(plan, folder, {**folder.done(), **existing})
    names = [plan.part_name(i) for i in range(len(plan.splits))]
    missing = [name for name in names if name not in parts]
    if missing:
        raise DamagedError(
            f"{folder.url}: {len(missing)} parts are not committed, {missing[0]} first; run "
            "the same command again"
        )
    bad = [sample for name in names for sample in parts[name].bad]
    require_few(bad, plan.max_bad_samples)
    made = {
        "plan": plan.content(),
        "bad_samples": len(bad),
        "engine": engine,
        "facts": facts,
        "versions": {
            "datafeed": __version__,
            "hdf5": hdf5_version(),
            "python": platform.python_version(),
        },
    }
    manifest = Manifest(
        feed_id=plan.feed_id,
        schema=plan.schema,
        samples_per_chunk=plan.samples_per_chunk,
        parts=[parts[name].entry for name in names],
        made=made,
    )
    _write_virtual(manifest, folder)
    folder.keep_word_of(bad)
    folder.source.write(folder.feed, manifest.to_bytes())
    folder.clean(names)
    return manifest


def _write_virtual(manifest: Manifest, folder: Folder) -> None:
    with scratch_folder() as scratch:
        path = scratch / VIRTUAL_FILE
        write_virtual(path, manifest)
        folder.source.put(path, join(folder.url, VIRTUAL_FILE))
