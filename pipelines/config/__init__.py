"""What a person chooses: params.yaml and the benchmarks' configurations, read from files into typed ``blocks``."""
