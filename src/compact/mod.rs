//! Head to block, blocks to block, retention.
