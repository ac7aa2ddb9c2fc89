"""A resumable study of methods: networks x data x methods x seeds, each cell a run whose result is one small file."""
