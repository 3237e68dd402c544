"""What scoring costs, beside what else a processor could do with the time: `dmcl bench`."""
