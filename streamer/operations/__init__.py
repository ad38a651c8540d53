"""Running the sidecar: what is asked for, its settings file, which instruments, how it stands, health and metrics."""
