//! The log of what the head accepted.
