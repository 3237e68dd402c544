"""What networks are trained on: manifests, runs of crops, pairs of clips."""
