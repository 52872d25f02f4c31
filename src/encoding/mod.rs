//! Primitive codecs without policy: varints, bit-packing, checked cursors, checksums, protobuf fields.
