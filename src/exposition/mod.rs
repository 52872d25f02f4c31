//! Pages of metrics as targets serve them: bytes in, samples and metadata out.
