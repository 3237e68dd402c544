"""What already lies in S3: each video listed, scanned and delivered, once, however often the command is interrupted.

    listing ─> what is not done ─> workers, here or on a cluster ─> sinks and the results' file ─> ledger

What the ledger says was delivered is not done again, what stands among the dead letters is not tried again, and the
results' file takes no line twice.
"""

from connectors.backfill.plan import Backfill, Listing

__all__ = ["Backfill", "Listing"]
