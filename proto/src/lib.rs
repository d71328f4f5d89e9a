//! The protobuf schemas, compiled.
