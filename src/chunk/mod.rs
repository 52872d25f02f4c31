//! Compressed runs of samples: values of one series, timestamps of one column.
