//! Labels to series: symbols, postings, the index file of a block.
