//! The configuration file: plain data, Prometheus's defaults and checks.
