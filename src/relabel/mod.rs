//! Relabelling rules and their application.
