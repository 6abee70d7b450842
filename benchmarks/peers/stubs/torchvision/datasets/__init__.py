"""The one name that mosaicml-streaming imports."""

import torch.utils.data


class VisionDataset(torch.utils.data.Dataset):
    """As in torchvision, a data set."""
