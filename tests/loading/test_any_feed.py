"""Any feed, any memory, any number of ranks: the batches are those of the order."""

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from datafeed import DataLoader, Order
from tests.loading.loader_feeds import RICH, check_batch, write_feed


@settings(deadline=None, max_examples=40)
@given(
    parts=st.lists(st.integers(0, 40), min_size=1, max_size=4),
    per_chunk=st.integers(1, 9),
    global_batch=st.integers(1, 40),
    streams=st.integers(1, 6),
    window=st.integers(1, 4),
    share=st.integers(1, 6).flatmap(lambda n: st.tuples(st.integers(0, n - 1), st.just(n))),
    memory_share=st.floats(0, 1),
    first_step=st.integers(0, 5),
    is_shuffled=st.booleans(),
    is_mapped=st.booleans(),
)
def test_batches_are_those_of_the_order(
    parts: list[int],
    per_chunk: int,
    global_batch: int,
    streams: int,
    window: int,
    share: tuple[int, int],
    memory_share: float,
    first_step: int,
    is_shuffled: bool,
    is_mapped: bool,
) -> None:
    rank, world_size = min(share[0], streams - 1), min(share[1], streams)
    order = Order(
        parts, per_chunk, global_batch, streams=streams, window=window, shuffle=is_shuffled
    )
    with (
        tempfile.TemporaryDirectory() as folder,
        write_feed(Path(folder) / "f", parts, per_chunk, RICH) as feed,
    ):
        assert feed.mapped() is not None
        if not is_mapped:
            feed.mapped = lambda: None  # type: ignore[method-assign]
        manifest = feed.manifest
        slot_bytes = max(1, sum(manifest.max_piece_bytes))
        # At least what a batch needs, which makes any smaller memory a ConfigError.
        n_least = min(manifest.n_chunks, global_batch, streams * window)
        n_slots = max(1, n_least + round(memory_share * (manifest.n_chunks - n_least)))
        with DataLoader(
            feed,
            global_batch_size=global_batch,
            streams=streams,
            window=window,
            rank=rank,
            world_size=world_size,
            memory_bytes=n_slots * slot_bytes,
            shuffle=is_shuffled,
        ) as loader:
            first = min(first_step, order.steps)
            loader.load_state_dict({**loader.state_dict(), "step": first})
            for epoch, start in ((0, first), (1, 0)):
                n_batches = 0
                for step, batch in enumerate(loader, start):
                    check_batch(batch, order.rank_batch(epoch, step, rank, world_size))
                    n_batches += 1
                assert n_batches == order.steps - start
