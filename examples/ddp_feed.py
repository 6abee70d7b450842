"""DistributedDataParallel under torchrun, fed by datafeed: no MPI, no sampler.

::

    torchrun --nproc-per-node 2 examples/ddp_feed.py --feed FEED

The loader finds its rank in torch.distributed. ``global_batch_size`` fixes what each step contains
for any number of processes; where it does not divide evenly, DDP's plain mean weighs the ranks
alike, so give a multiple of the processes, and ``drop_last=True`` for the last one.
"""

import argparse

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch.nn.parallel import DistributedDataParallel

import datafeed
from trainers.models.small_cnn import SmallConvNet


def main() -> None:
    """Train two epochs; rank 0 prints the mean loss of each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--feed", required=True)
    parser.add_argument("--classes", type=int, default=10)
    options = parser.parse_args()
    dist.init_process_group("gloo" if not torch.cuda.is_available() else "nccl")
    torch.manual_seed(0)
    with datafeed.open(options.feed) as feed:
        height, width = feed.fields["image"].shape
        model = DistributedDataParallel(SmallConvNet(height, width, 1, options.classes))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
        with datafeed.DataLoader(feed, global_batch_size=16, seed=0, drop_last=True) as loader:
            for epoch in range(2):
                loader.set_epoch(epoch)
                sums = torch.zeros(2)
                for batch in loader:
                    loss = F.cross_entropy(model(batch["image"]), batch["label"])
                    optimizer.zero_grad()
                    torch.autograd.backward(loss)
                    optimizer.step()
                    n = len(batch["label"])
                    sums += torch.tensor([loss.item() * n, n])
                dist.all_reduce(sums)
                if dist.get_rank() == 0:
                    print(f"epoch {epoch}: {int(sums[1])} samples, loss {sums[0] / sums[1]:.4f}")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
