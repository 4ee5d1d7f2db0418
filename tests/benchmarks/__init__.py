"""Commands that measure a part by itself, beside a ceiling of the same run. Nothing here is timed in the suite."""
