//! One owned connection to a scrape target.
