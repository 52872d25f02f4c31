//! Protobuf messages of the remote protocols, read in place.
