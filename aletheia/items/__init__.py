"""Items of a project: content, index, deduplication, calibration, decisions."""
