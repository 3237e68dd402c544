"""Makes the model file that `dmcl_sdk` serves: data, forgeries, network, training, evaluation, export."""
