//! A seeded stream of readings, for demonstrations and benchmarks.
