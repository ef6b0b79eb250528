//! The messages of `proto/feed.proto`, as prost makes them. Nothing here is trusted before [`decode`](crate::decode)
//! has read it.

// Generated: the words are the .proto's.
#![allow(missing_docs, clippy::all)]

tonic::include_proto!("natgate.feed.v1");
