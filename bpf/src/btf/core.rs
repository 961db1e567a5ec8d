//! CO-RE: placeholder.
