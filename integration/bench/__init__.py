"""sluice beside what people use today, on one topic and in one run: only ratios of one run mean anything."""
