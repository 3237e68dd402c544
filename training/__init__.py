"""Makes the model file that `dmcl_sdk` serves: data, forgeries, network, training, evaluation, export."""

import os

# Pages of 2 MB for tensors, where Linux offers them: of small ones every step of training takes thousands, and the
# system clears each of them first. PyTorch reads this when it first allocates.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
