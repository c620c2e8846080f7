"""Files, cache, configuration, executors, processes and the console: what every room stands on."""
