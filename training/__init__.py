"""Makes the model file that `dmcl_sdk` serves: data, forgeries, network, training, evaluation, export."""

import os

# Pages of 2 MB for tensors, where Linux offers them: with small ones the system clears half a million of them anew in
# every step of pictures of 256 px, which is a third of its CPU time. PyTorch reads this when it first allocates.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
