//! Where targets come from: static lists and files.
